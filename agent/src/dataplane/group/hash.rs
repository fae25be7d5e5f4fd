//! The numbers by which endpoints find their places in hash tables: the same in every run and version, or clients would move.

/// FNV-1a, of which the finalizer of `MurmurHash3` spreads the last bytes over all bits.
pub(super) fn hash(text: &str, seed: u64) -> u64 {
    let fnv = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325 ^ seed, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    let mixed = (fnv ^ (fnv >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    mixed ^ (mixed >> 33)
}

/// Endpoints as tables take them, one for each weight.
#[cfg(test)]
pub(super) fn weighing(weights: &[u64]) -> Vec<(String, u64)> {
    let named = weights.iter().enumerate();
    named
        .map(|(i, weight)| (format!("10.0.0.{i}:80"), *weight))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_the_same_number_for_ever() {
        assert_eq!(hash("", 0), 0xefd0_1f60_ba99_2926);
        assert_ne!(hash("10.0.0.1:80", 0), hash("10.0.0.1:80", 1));
    }
}
