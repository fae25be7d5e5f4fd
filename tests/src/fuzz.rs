//! What is tried with bytes that a fuzzer finds, and with those of its corpora in the tests: functions that take any bytes, and
//! panic where a promise does not hold.

mod answers;
mod control;
mod decoder;
mod kernel;
mod questions;

use std::net::IpAddr;
use std::sync::LazyLock;

use agent::compile::{Names, Saying};

pub use answers::answers;
pub use control::control;
pub use decoder::decoder;
pub use kernel::kernel;
pub use questions::questions;

/// Takes any bytes.
pub type Target = fn(&[u8]);

/// Every target, by the name of its binary and of its corpus.
pub const TARGETS: [(&str, Target); 5] = [
    ("answers", answers),
    ("control", control),
    ("decoder", decoder),
    ("kernel", kernel),
    ("questions", questions),
];

/// What clients are told of names.
static NAMES: LazyLock<Names> = LazyLock::new(|| {
    let own = || Saying::Addresses([IpAddr::from([240, 1, 0, 1])].into());
    Names::from_iter([
        ("a", own()),
        ("*.b", own()),
        ("*.c", Saying::OnDemand),
        ("d", Saying::Learned),
    ])
});
