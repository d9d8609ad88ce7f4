use super::elf::{Elf, u16_at, u32_at, u64_at, until_zero};

const LARGEST_TABLE: u64 = 64 << 20;
/// `sh_type` of `.symtab` and `.dynsym`.
const SYMTAB: u32 = 2;
const DYNSYM: u32 = 11;
/// `st_info & 15` of functions, and of functions that choose themselves at run time.
const FUNC: u8 = 2;
const IFUNC: u8 = 10;

/// The functions that an ELF file's symbol table names.
#[derive(Debug, Default)]
pub(super) struct Symbols {
    /// In the order of their addresses; of those alike, the one to be shown is the last.
    symbols: Vec<Symbol>,
    names: Vec<u8>,
}

#[derive(Debug)]
struct Symbol {
    address: u64,
    /// 0 when nobody noted it: then up to the next.
    size: u64,
    name: u32,
}

impl Symbols {
    /// The full table, or else that of the dynamic linker, which has only what is shared.
    pub(super) fn read(elf: &Elf) -> Symbols {
        [SYMTAB, DYNSYM]
            .into_iter()
            .find_map(|kind| Symbols::read_kind(elf, kind))
            .unwrap_or_default()
    }

    fn read_kind(elf: &Elf, kind: u32) -> Option<Symbols> {
        let section = elf.section_of_kind(kind)?;
        let table = elf.data(section, LARGEST_TABLE)?;
        let names = elf.data(elf.linked(section)?, LARGEST_TABLE)?;
        let mut symbols: Vec<Symbol> = table
            .chunks_exact(24)
            .filter(|raw| matches!(raw[4] & 15, FUNC | IFUNC) && u16_at(raw, 6) != Some(0))
            .filter_map(|raw| {
                Some(Symbol {
                    address: u64_at(raw, 8)?,
                    size: u64_at(raw, 16)?,
                    name: u32_at(raw, 0)?,
                })
            })
            .collect();
        if symbols.is_empty() {
            return None;
        }
        // `close` before `__close`, of the many names that libc has for one function.
        let rank = |symbol: &Symbol| {
            let name = names.get(symbol.name as usize..).unwrap_or_default();
            name.iter().take_while(|byte| **byte == b'_').count()
        };
        symbols.sort_by_key(|symbol| (symbol.address, std::cmp::Reverse(rank(symbol))));
        symbols.shrink_to_fit();
        Some(Symbols { symbols, names })
    }

    /// The mangled name of the function that holds an address of the file.
    pub(super) fn name(&self, address: u64) -> Option<String> {
        let after = self.symbols.partition_point(|symbol| symbol.address <= address);
        let next = self.symbols.get(after).map_or(u64::MAX, |symbol| symbol.address);
        // One may lie within another.
        let found = self.symbols[..after].iter().rev().take(8).find(|symbol| {
            let end = match symbol.size {
                0 => next,
                size => symbol.address.saturating_add(size),
            };
            address < end
        })?;
        until_zero(self.names.get(found.name as usize..)?).filter(|name| !name.is_empty())
    }

    /// Bytes of memory.
    pub(super) fn weight(&self) -> usize {
        self.symbols.len() * size_of::<Symbol>() + self.names.len()
    }
}
