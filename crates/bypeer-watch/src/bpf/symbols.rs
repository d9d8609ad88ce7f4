//! Addresses of the kernel → names of its functions, by `/proc/kallsyms`.

use std::fs;
use std::ops::Range;

/// Frames that are there because somebody looks.
const GLUE: [&str; 6] = [
    "bpf_prog_",
    "bpf_trace_run",
    "__bpf_trace_",
    "__traceiter_",
    "bpf_trampoline_",
    "bpf_get_stack",
];

/// The kernel's functions in the order of their addresses.
#[derive(Debug, Default)]
pub(super) struct Symbols {
    text: String,
    /// Address, and where in `text` the name stands.
    functions: Vec<(u64, Range<u32>)>,
}

impl Symbols {
    /// Empty when addresses are hidden from the caller (`kernel.kptr_restrict`).
    pub(super) fn of_this_kernel() -> Symbols {
        // Bytes, for a module may name its functions as it likes.
        let text = fs::read("/proc/kallsyms").unwrap_or_default();
        Symbols::parse(String::from_utf8_lossy(&text).into_owned())
    }

    pub(super) fn parse(text: String) -> Symbols {
        let begin = text.as_ptr().addr();
        let mut functions: Vec<_> = text
            .lines()
            .filter_map(|line| {
                let mut words = line.split_ascii_whitespace();
                let address = u64::from_str_radix(words.next()?, 16).ok()?;
                let is_function = matches!(words.next()?, "t" | "T" | "w" | "W");
                let name = words.next()?;
                let at = name.as_ptr().addr() - begin;
                let range = u32::try_from(at).ok()?..u32::try_from(at + name.len()).ok()?;
                (is_function && address != 0).then_some((address, range))
            })
            .collect();
        // Stable: of several names for one address the first is the usual one.
        functions.sort_by_key(|(address, _)| *address);
        Symbols { text, functions }
    }

    pub(super) fn are_hidden(&self) -> bool {
        self.functions.is_empty()
    }

    /// Where a function lies: up to the next one.
    pub(super) fn range(&self, name: &str) -> Option<Range<u64>> {
        let index = self.functions.iter().position(|(_, range)| self.name(range) == name)?;
        let (begin, _) = self.functions[index];
        let next = self.functions[index..].iter().find(|(address, _)| *address > begin)?;
        Some(begin..next.0)
    }

    /// The names of a stack, innermost first, without the frames of who looks. Empty when addresses are hidden.
    pub(super) fn stack(&self, addresses: &[u64]) -> Vec<String> {
        addresses
            .iter()
            .filter_map(|address| self.containing(*address))
            .filter(|name| !GLUE.iter().any(|glue| name.starts_with(glue)))
            .map(str::to_owned)
            .collect()
    }

    fn containing(&self, address: u64) -> Option<&str> {
        // It is where a call returns to. A function that never returns is called by the last instruction of its caller: what
        // follows is another function.
        let end = self.functions.partition_point(|(begin, _)| *begin < address);
        let (begin, _) = self.functions.get(end.checked_sub(1)?)?;
        let first = self.functions.partition_point(|(address, _)| address < begin);
        Some(self.name(&self.functions[first].1))
    }

    fn name(&self, range: &Range<u32>) -> &str {
        &self.text[range.start as usize..range.end as usize]
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const TEXT: &str = "ffffffff81000100 T tcp_close\nffffffff81000100 t tcp_close_alias\nffffffff81000200 D data\n\
        ffffffff81000300 t __tcp_close\nffffffffc0000000 t tcp_diag_destroy\t[tcp_diag]\nffffffffc0000100 t \
        bpf_prog_1234_reset_sent\t[bpf]\nnonsense\n";

    #[test]
    fn addresses_are_within_the_function_before_them() {
        let symbols = Symbols::parse(TEXT.to_owned());
        let stack = [
            0xffff_ffff_c000_0104,
            0xffff_ffff_8100_0310,
            0xffff_ffff_8100_0300,
            0xffff_ffff_c000_0010,
            3,
        ];
        assert_eq!(symbols.stack(&stack), ["__tcp_close", "tcp_close", "tcp_diag_destroy"]);
        assert_eq!(
            symbols.range("tcp_close"),
            Some(0xffff_ffff_8100_0100..0xffff_ffff_8100_0300)
        );
        assert_eq!(symbols.range("tcp_open"), None);
    }

    #[test]
    fn hidden_addresses_are_no_addresses() {
        let symbols = Symbols::parse("0000000000000000 T tcp_close\n0000000000000000 T __tcp_close\n".to_owned());
        assert!(symbols.are_hidden());
        assert_eq!(symbols.stack(&[0xffff_ffff_8100_0300]), [""; 0]);
        assert_eq!(symbols.range("tcp_close"), None);
    }
}
