//! Whether any bytes in the rings of the kernel programs are records, or none, that can be understood. The first byte chooses the
//! ring.

use agent::dataplane::{Limits, MemoryDataplane, ip_address};
use agent_common::abi::{DENIAL_SIZE, Denial, Event};

pub fn kernel(input: &[u8]) {
    let Some((choice, record)) = input.split_first() else {
        return;
    };
    let dataplane = MemoryDataplane::in_memory(&Limits::default());
    let names = dataplane.names();
    if choice.is_multiple_of(2) {
        let event = Event::from_bytes(record);
        assert_eq!(event.is_some(), record.len() == size_of::<Event>());
        if let Some(event) = event {
            assert_eq!(names.endpoint(event.endpoint), None, "there is none");
        }
        return;
    }
    let denial = Denial::from_bytes(record);
    assert_eq!(denial.is_some(), record.len() == DENIAL_SIZE);
    if let Some(denial) = denial {
        assert_eq!(names.service(denial.service), None, "there is none");
        assert_eq!(names.endpoint(denial.endpoint), None, "there is none");
        let address = ip_address(denial.address);
        assert_eq!(agent::dataplane::abi_address(address), denial.address);
        if let Some(denied) = denial.denied() {
            assert_eq!(denied.code(), denial.code);
        }
    }
}
