//! The running kernel's own description of its types (BTF): numbers of reasons differ between kernels, their names do not.

use std::fs;
use std::io;

use thiserror::Error;

/// Where the kernel shows it.
pub(super) const PATH: &str = "/sys/kernel/btf/vmlinux";

const MAGIC: u16 = 0xeb9f;
const HEADER: usize = 24;
const ENUM: u32 = 6;
const TYPEDEF: u32 = 8;
const FUNC: u32 = 12;
const FUNC_PROTO: u32 = 13;
const PTR: u32 = 2;
const ENUM64: u32 = 19;

/// Why it cannot be read.
#[derive(Debug, Error)]
pub enum BtfError {
    /// No such file, or no right to it.
    #[error("{PATH}: {0}")]
    Unreadable(#[from] io::Error),
    /// Not what it should be.
    #[error("{PATH} is damaged: {what} at byte {at}")]
    Damaged {
        /// What does not fit.
        what: &'static str,
        /// Where.
        at: usize,
    },
}

/// The types of a kernel.
pub(super) struct KernelTypes {
    bytes: Vec<u8>,
    /// Where the names begin.
    names: usize,
    /// Where each type begins, from number 1 on.
    types: Vec<usize>,
}

#[derive(Clone, Copy)]
struct Type {
    name: u32,
    kind: u32,
    members: usize,
    /// Number of another type, or a size.
    refers: u32,
    /// Where what follows it begins.
    body: usize,
}

impl KernelTypes {
    pub(super) fn of_this_kernel() -> Result<KernelTypes, BtfError> {
        KernelTypes::parse(fs::read(PATH)?)
    }

    pub(super) fn parse(bytes: Vec<u8>) -> Result<KernelTypes, BtfError> {
        let damaged = |what, at| BtfError::Damaged { what, at };
        let field = |at| {
            number(&bytes, at)
                .map(|field| field as usize)
                .ok_or(damaged("no header", at))
        };
        if bytes.get(..2) != Some(&MAGIC.to_ne_bytes()) {
            return Err(damaged("no magic number", 0));
        }
        let header = field(4)?;
        if header < HEADER {
            return Err(damaged("a header too short", 4));
        }
        let (begin, length, names) = (header + field(8)?, field(12)?, header + field(16)?);
        let end = begin + length;
        if end > bytes.len() || names > bytes.len() {
            return Err(damaged("a section beyond the end", 8));
        }
        let mut types = Vec::new();
        let mut at = begin;
        while at < end {
            let read = read_type(&bytes, at).ok_or(damaged("half a type", at))?;
            types.push(at);
            at = read.body + body_length(read).ok_or(damaged("a type of an unknown kind", at))?;
        }
        Ok(KernelTypes { bytes, names, types })
    }

    /// The names of an enumeration and their numbers; empty when there is none of that name.
    pub(super) fn enumerators(&self, name: &str) -> Vec<(String, u32)> {
        let Some(found) = self.find(name, &[ENUM, ENUM64]) else {
            return Vec::new();
        };
        let width = if found.kind == ENUM { 8 } else { 12 };
        (0..found.members)
            .filter_map(|index| {
                let at = found.body + index * width;
                Some((self.name(number(&self.bytes, at)?)?, number(&self.bytes, at + 4)?))
            })
            .collect()
    }

    /// How many arguments a tracepoint hands over; `None` when the kernel has no such tracepoint.
    pub(super) fn tracepoint_arguments(&self, name: &str) -> Option<usize> {
        let typedef = self.find(&format!("btf_trace_{name}"), &[TYPEDEF])?;
        let pointer = self.get(typedef.refers).filter(|pointer| pointer.kind == PTR)?;
        let prototype = self
            .get(pointer.refers)
            .filter(|prototype| prototype.kind == FUNC_PROTO)?;
        // The first is the tracing program's own.
        prototype.members.checked_sub(1)
    }

    /// How many arguments a function takes; `None` when it is none that can be traced.
    pub(super) fn function_arguments(&self, name: &str) -> Option<usize> {
        let function = self.find(name, &[FUNC])?;
        self.get(function.refers)
            .filter(|prototype| prototype.kind == FUNC_PROTO)
            .map(|prototype| prototype.members)
    }

    fn get(&self, number: u32) -> Option<Type> {
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        read_type(&self.bytes, *self.types.get(index)?)
    }

    fn find(&self, name: &str, kinds: &[u32]) -> Option<Type> {
        let mut types = self.types.iter().filter_map(|at| read_type(&self.bytes, *at));
        types.find(|found| kinds.contains(&found.kind) && self.is_named(*found, name))
    }

    fn is_named(&self, found: Type, name: &str) -> bool {
        let rest = self
            .names
            .checked_add(found.name as usize)
            .and_then(|at| self.bytes.get(at..));
        rest.and_then(|rest| rest.strip_prefix(name.as_bytes()))
            .is_some_and(|rest| rest.first() == Some(&0))
    }

    fn name(&self, offset: u32) -> Option<String> {
        let rest = self.bytes.get(self.names.checked_add(offset as usize)?..)?;
        let end = rest.iter().position(|byte| *byte == 0)?;
        Some(String::from_utf8_lossy(&rest[..end]).into_owned())
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(four.try_into().ok()?))
}

fn read_type(bytes: &[u8], at: usize) -> Option<Type> {
    let info = number(bytes, at + 4)?;
    Some(Type {
        name: number(bytes, at)?,
        kind: info >> 24 & 0x1f,
        members: info as usize & 0xffff,
        refers: number(bytes, at + 8)?,
        body: at + 12,
    })
}

/// include/uapi/linux/btf.h
fn body_length(read: Type) -> Option<usize> {
    Some(match read.kind {
        // INT, VAR, DECL_TAG
        1 | 14 | 17 => 4,
        // PTR, FWD, TYPEDEF, VOLATILE, CONST, RESTRICT, FUNC, FLOAT, TYPE_TAG
        2 | 7..=12 | 16 | 18 => 0,
        // ARRAY
        3 => 12,
        // STRUCT, UNION, DATASEC, ENUM64
        4 | 5 | 15 | 19 => 12 * read.members,
        // ENUM, FUNC_PROTO
        6 | 13 => 8 * read.members,
        _ => return None,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// `enum reason { A = 3, BB = 5 }`, and a tracepoint with two arguments.
    fn sample() -> Vec<u8> {
        let names = b"\0reason\0A\0BB\0btf_trace_some\0function\0";
        let mut types = Vec::new();
        let mut push = |numbers: &[u32]| numbers.iter().for_each(|number| types.extend(number.to_ne_bytes()));
        push(&[1, ENUM << 24 | 2, 4, 8, 3, 10, 5]);
        push(&[0, FUNC_PROTO << 24 | 3, 0, 0, 0, 0, 0, 0, 0]);
        push(&[0, PTR << 24, 2]);
        push(&[13, TYPEDEF << 24, 3]);
        push(&[28, FUNC << 24, 2]);
        let mut bytes = MAGIC.to_ne_bytes().to_vec();
        bytes.extend([1, 0]);
        for field in [HEADER, 0, types.len(), types.len(), names.len()] {
            bytes.extend((field as u32).to_ne_bytes());
        }
        bytes.extend(types);
        bytes.extend(names);
        bytes
    }

    #[test]
    fn enumerations_and_arguments_are_read() {
        let types = KernelTypes::parse(sample()).unwrap();
        assert_eq!(types.enumerators("reason"), [("A".to_owned(), 3), ("BB".to_owned(), 5)]);
        assert_eq!(types.enumerators("reas"), []);
        assert_eq!(types.tracepoint_arguments("some"), Some(2));
        assert_eq!(types.tracepoint_arguments("other"), None);
        assert_eq!(types.function_arguments("function"), Some(3));
    }

    #[test]
    fn damage_is_an_error_or_a_gap_and_never_a_panic() {
        let whole = sample();
        let ask = |bytes: Vec<u8>| {
            if let Ok(types) = KernelTypes::parse(bytes) {
                let _ = types.enumerators("reason");
                let _ = (types.tracepoint_arguments("some"), types.function_arguments("function"));
            }
        };
        for end in 0..whole.len() {
            ask(whole[..end].to_vec());
        }
        for at in 0..whole.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] = value;
                ask(bytes);
            }
        }
    }

    #[test]
    fn this_kernel_names_its_reasons_where_it_describes_itself() {
        let Ok(types) = KernelTypes::of_this_kernel() else {
            println!("skipped: {PATH} is missing");
            return;
        };
        let drops = types.enumerators("skb_drop_reason");
        assert!(
            drops.iter().any(|(name, _)| name == "SKB_DROP_REASON_NETFILTER_DROP"),
            "{drops:?}"
        );
        assert!(types.tracepoint_arguments("kfree_skb").is_some());
        assert_eq!(types.tracepoint_arguments("no_such_thing"), None);
    }
}
