//! Where the kernel has a field, read off its description of its own types (BTF).
//!
//! One name is looked up in one pass over the types. Crates that read BTF build all of it first, a hundred thousand types,
//! which takes the better part of a second at every start.

/// Where the kernel has the description: some megabytes.
pub(super) const KERNEL: &str = "/sys/kernel/btf/vmlinux";

const MAGIC: u32 = 0xeb9f;
/// Of include/uapi/linux/btf.h.
const INT: u32 = 1;
const ARRAY: u32 = 3;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const ENUM: u32 = 6;
const FUNC_PROTO: u32 = 13;
const VAR: u32 = 14;
const DATASEC: u32 = 15;
const DECL_TAG: u32 = 17;
const ENUM64: u32 = 19;

/// Bytes of a type before what depends on its kind, and of a member of a structure.
const TYPE: usize = 12;
const MEMBER: usize = 12;

pub(super) struct Btf<'a> {
    types: &'a [u8],
    strings: &'a [u8],
}

impl<'a> Btf<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        if word(bytes, 0)? & 0xffff != MAGIC {
            return None;
        }
        let field = |at: usize| word(bytes, at).map(|word| word as usize);
        let content = bytes.get(field(4)?..)?;
        let section = |at: usize| content.get(field(at)?..field(at)?.checked_add(field(at + 4)?)?);
        Some(Self {
            types: section(8)?,
            strings: section(16)?,
        })
    }

    /// Where a member of a structure begins, in bytes from the structure's start.
    pub(super) fn offset(&self, structure: &str, member: &str) -> Option<u32> {
        self.bit_offset(structure, member).map(|bit| bit / 8)
    }

    /// The first bit of a member of a structure, counted from the structure's start.
    pub(super) fn bit_offset(&self, structure: &str, member: &str) -> Option<u32> {
        let mut rest = self.types;
        loop {
            let (name, shape) = (word(rest, 0)?, word(rest, 4)?);
            let (kind, count) = (shape >> 24 & 0x1f, (shape & 0xffff) as usize);
            let length = match kind {
                INT | VAR | DECL_TAG => 4,
                ARRAY => 12,
                STRUCT | UNION | DATASEC | ENUM64 => MEMBER * count,
                ENUM | FUNC_PROTO => 8 * count,
                _ => 0,
            };
            let details = rest.get(TYPE..TYPE + length)?;
            if kind == STRUCT && self.is(name, structure) {
                let mut members = details.chunks_exact(MEMBER);
                let found = members.find(|at| word(at, 0).is_some_and(|n| self.is(n, member)))?;
                let offset = word(found, 8)?;
                // With bit fields, the upper byte is the width.
                let has_bit_fields = shape >> 31 == 1;
                return Some(if has_bit_fields {
                    offset & 0xff_ffff
                } else {
                    offset
                });
            }
            rest = &rest[TYPE + length..];
        }
    }

    fn is(&self, name: u32, wanted: &str) -> bool {
        let from = self.strings.get(name as usize..).unwrap_or_default();
        from.strip_prefix(wanted.as_bytes())
            .is_some_and(|rest| rest.first() == Some(&0))
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    Some(u32::from_ne_bytes(bytes.try_into().expect("four bytes")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An integer, and a structure of a plain member and a bit field.
    fn sample() -> Vec<u8> {
        let strings = b"\0int\0pair\0first\0second\0";
        let types: [u32; 4 + 3 + 6] = [
            1,
            INT << 24,
            4,
            32, // int
            5,
            1 << 31 | STRUCT << 24 | 2,
            8, // pair
            10,
            1,
            0, // first
            16,
            1,
            3 << 24 | 0x25, // second
        ];
        let types: Vec<u8> = types.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap();
        let header = [
            MAGIC | 1 << 16,
            24,
            0,
            length(&types),
            length(&types),
            length(strings),
        ];
        let header = header.iter().flat_map(|word| word.to_ne_bytes());
        header
            .chain(types.iter().copied())
            .chain(*strings)
            .collect()
    }

    #[test]
    fn a_member_is_found_by_its_name_in_its_structure() {
        let bytes = sample();
        let btf = Btf::parse(&bytes).unwrap();
        assert_eq!(btf.bit_offset("pair", "first"), Some(0));
        assert_eq!(btf.bit_offset("pair", "second"), Some(0x25));
        assert_eq!(btf.bit_offset("pair", "fir"), None);
        assert_eq!(btf.bit_offset("int", "first"), None);
    }

    #[test]
    fn what_is_cut_off_is_not_read_past_its_end() {
        let bytes = sample();
        for length in 0..bytes.len() {
            if let Some(btf) = Btf::parse(&bytes[..length]) {
                assert_eq!(btf.bit_offset("pair", "third"), None);
            }
        }
    }
}
