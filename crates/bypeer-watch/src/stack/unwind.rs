use gimli::{
    BaseAddresses, CfaRule, EhFrame, EhFrameOffset, EndianSlice, EvaluationResult, FrameDescriptionEntry, LittleEndian,
    Location, Piece, Register, RegisterRule, UnwindContext, UnwindExpression, UnwindSection as _, Value,
};

use super::elf::{Elf, u32_at};
use crate::event::UserStack;

type Slice<'a> = EndianSlice<'a, LittleEndian>;

/// Of `.eh_frame`, and of its index.
const LARGEST_TABLE: u64 = 64 << 20;
/// Steps of an expression: it may jump backwards.
const MOST_STEPS: u32 = 1000;

/// What the unwinder has to know of a kind of processor. Numbers of registers are those of its DWARF.
#[derive(Debug)]
pub(super) struct Processor {
    return_address: Register,
    stack_pointer: Register,
    frame_pointer: Register,
    /// Registers that a function gives back as it got them.
    preserved: &'static [u16],
}

static X86_64: Processor = Processor {
    return_address: Register(16),
    stack_pointer: Register(7),
    frame_pointer: Register(6),
    preserved: &[3, 6, 12, 13, 14, 15],
};

impl Processor {
    /// From `e_machine`. For arm64 (183): return address x30, stack pointer x31, frame pointer x29, preserved x19 to x29; the event must
    /// tell x30 then, as the innermost function may not have stored it.
    pub(super) fn of(machine: u16) -> Option<&'static Processor> {
        match machine {
            62 => Some(&X86_64),
            _ => None,
        }
    }

    /// Of the machine that this runs on.
    pub(super) fn native() -> Option<&'static Processor> {
        Processor::of(if cfg!(target_arch = "x86_64") { 62 } else { 183 })
    }
}

/// How a frame leads to its caller.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Where the caller goes on.
    Caller(u64),
    /// It has none: the program's or the thread's first function.
    Root,
    /// It is not known, or what is known leads out of the copied stack.
    Lost,
}

/// The registers of a thread, as far as they are known, from frame to frame.
#[derive(Debug)]
pub(super) struct Registers<'a> {
    processor: &'static Processor,
    stack: &'a UserStack,
    values: [Option<u64>; 33],
    /// The frame was interrupted, not left by a call: its address is that of the next instruction.
    pub(super) interrupted: bool,
    innermost: bool,
}

impl<'a> Registers<'a> {
    pub(super) fn of(stack: &'a UserStack, processor: &'static Processor) -> Registers<'a> {
        let mut registers = Registers {
            processor,
            stack,
            values: [None; 33],
            interrupted: true,
            innermost: true,
        };
        registers.set(processor.return_address, Some(stack.ip));
        registers.set(processor.stack_pointer, Some(stack.sp));
        registers.set(processor.frame_pointer, Some(stack.bp));
        registers
    }

    fn get(&self, register: Register) -> Option<u64> {
        self.values.get(usize::from(register.0)).copied().flatten()
    }

    fn set(&mut self, register: Register, value: Option<u64>) {
        if let Some(slot) = self.values.get_mut(usize::from(register.0)) {
            *slot = value;
        }
    }

    fn load(&self, address: u64) -> Option<u64> {
        let start = usize::try_from(address.checked_sub(self.stack.sp)?).ok()?;
        let bytes = self.stack.bytes.get(start..start.checked_add(8)?)?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    }

    /// One step by frame pointers, for code without unwind tables: compiled at run time, or Go's.
    ///
    /// `is_code` tells whether an address is in memory that can be run.
    pub(super) fn step_by_frame_pointer(&mut self, is_code: impl Fn(u64) -> bool) -> Step {
        // A stub that makes a call to the kernel has no frame of its own: the return address lies on top.
        let top = self.get(self.processor.stack_pointer).and_then(|sp| self.load(sp));
        if let Some(caller) = top.filter(|address| self.innermost && is_code(*address)) {
            let sp = self.stack.sp.checked_add(8);
            return self.moved(sp, self.get(self.processor.frame_pointer), caller);
        }
        match self.frame() {
            Some((frame, caller_frame, caller)) => self.moved(frame.checked_add(16), caller_frame, caller),
            None => Step::Lost,
        }
    }

    /// The frame pointer where it leads up the stack, and what it leads to: the caller's, and where the caller goes on.
    fn frame(&self) -> Option<(u64, Option<u64>, u64)> {
        let frame = self.get(self.processor.frame_pointer)?;
        let is_above = self.get(self.processor.stack_pointer).is_some_and(|sp| frame >= sp);
        let caller = self.load(frame.checked_add(8)?)?;
        is_above.then_some((frame, self.load(frame), caller))
    }

    fn moved(&mut self, sp: Option<u64>, frame_pointer: Option<u64>, caller: u64) -> Step {
        self.values = [None; 33];
        self.set(self.processor.stack_pointer, sp);
        self.set(self.processor.frame_pointer, frame_pointer);
        self.set(self.processor.return_address, Some(caller));
        (self.interrupted, self.innermost) = (false, false);
        if caller == 0 { Step::Root } else { Step::Caller(caller) }
    }
}

/// The unwind tables of an ELF file: how each place in its code finds its caller.
#[derive(Debug)]
pub(super) struct Tables {
    frames: Vec<u8>,
    /// `.eh_frame_hdr`: the functions in order.
    index: Vec<u8>,
    index_address: u64,
    bases: BaseAddresses,
}

impl Tables {
    pub(super) fn read(elf: &Elf) -> Option<Tables> {
        let frames = elf.section(".eh_frame")?;
        let index = elf.section(".eh_frame_hdr");
        let address = |name| elf.section(name).map_or(0, |section| section.address);
        Some(Tables {
            frames: elf.data(frames, LARGEST_TABLE)?,
            index: index
                .and_then(|section| elf.data(section, LARGEST_TABLE))
                .unwrap_or_default(),
            index_address: index.map_or(0, |section| section.address),
            bases: BaseAddresses::default()
                .set_eh_frame(frames.address)
                .set_eh_frame_hdr(address(".eh_frame_hdr"))
                .set_text(address(".text"))
                .set_got(address(".got")),
        })
    }

    /// Bytes of memory.
    pub(super) fn weight(&self) -> usize {
        self.frames.len() + self.index.len()
    }

    /// One step from the place at `address` (as the file has it). `None` when the tables do not know the place.
    pub(super) fn step(&self, address: u64, registers: &mut Registers<'_>) -> Option<Step> {
        let section = EhFrame::new(&self.frames, LittleEndian);
        let function = self.function(&section, address)?;
        let mut context = UnwindContext::new();
        let row = function
            .unwind_info_for_address(&section, &self.bases, &mut context, address)
            .ok()?;
        let evaluate = |expression: &UnwindExpression<usize>, initial, registers: &Registers<'_>| {
            evaluate(&section, expression, &function, initial, registers)
        };
        let frame = match row.cfa() {
            CfaRule::RegisterAndOffset { register, offset } => registers
                .get(*register)
                .and_then(|value| value.checked_add_signed(*offset)),
            CfaRule::Expression(expression) => evaluate(expression, None, registers),
        };
        let Some(frame) = frame else {
            return Some(Step::Lost);
        };
        let value = |rule: &RegisterRule<usize>, register| match rule {
            RegisterRule::SameValue => registers.get(register),
            RegisterRule::Offset(offset) => frame.checked_add_signed(*offset).and_then(|at| registers.load(at)),
            RegisterRule::ValOffset(offset) => frame.checked_add_signed(*offset),
            RegisterRule::Register(other) => registers.get(*other),
            RegisterRule::Expression(expression) => {
                evaluate(expression, Some(frame), registers).and_then(|at| registers.load(at))
            }
            RegisterRule::ValExpression(expression) => evaluate(expression, Some(frame), registers),
            RegisterRule::Constant(value) => Some(*value),
            _ => None,
        };
        let processor = registers.processor;
        let mut values = [None; 33];
        for number in processor.preserved {
            values[usize::from(*number)] = registers.get(Register(*number));
        }
        values[usize::from(processor.stack_pointer.0)] = Some(frame);
        for (register, rule) in row.registers() {
            if let Some(slot) = values.get_mut(usize::from(register.0)) {
                *slot = value(rule, *register);
            }
        }
        // The first function's tables say that it has no caller.
        if matches!(
            row.register(processor.return_address),
            None | Some(RegisterRule::Undefined)
        ) {
            return Some(Step::Root);
        }
        let caller = values[usize::from(processor.return_address.0)];
        let is_signal = function.cie().is_signal_trampoline();
        let stays = registers.get(processor.stack_pointer) >= Some(frame) && !is_signal;
        registers.values = values;
        (registers.interrupted, registers.innermost) = (is_signal, false);
        Some(match caller {
            None => Step::Lost,
            Some(0) => Step::Root,
            Some(_) if stays => Step::Lost,
            Some(caller) => Step::Caller(caller),
        })
    }

    fn function<'a>(&self, section: &EhFrame<Slice<'a>>, address: u64) -> Option<FrameDescriptionEntry<Slice<'a>>> {
        match self.indexed(address) {
            Some(offset) => section
                .fde_from_offset(&self.bases, EhFrameOffset(offset), EhFrame::cie_from_offset)
                .ok()
                .filter(|function| function.contains(address)),
            None => section
                .fde_for_address(&self.bases, address, EhFrame::cie_from_offset)
                .ok(),
        }
    }

    /// Where in `.eh_frame` the function is that begins last before an address, by binary search. `None` where the index is missing or is
    /// not as all linkers write it: version 1, numbers of 4 bytes, the table's relative to the index.
    fn indexed(&self, address: u64) -> Option<usize> {
        let index = self.index.strip_prefix(&[1, 0x1b, 0x03, 0x3b])?;
        let entries = index.get(8..)?;
        let count = (u32_at(index, 4)? as usize).min(entries.len() / 8);
        let at = |offset: usize| {
            let relative = u32_at(entries, offset)?.cast_signed();
            self.index_address.checked_add_signed(relative.into())
        };
        let (mut low, mut high) = (0, count);
        while low < high {
            let middle = low.midpoint(high);
            if at(middle * 8)? <= address {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let function = at(low.checked_sub(1)? * 8 + 4)?;
        let start = self.bases.eh_frame.section?;
        usize::try_from(function.checked_sub(start)?).ok()
    }
}

/// The value of an expression; `None` when it asks for what is not known, or does not come to an end.
fn evaluate(
    section: &EhFrame<Slice<'_>>,
    expression: &UnwindExpression<usize>,
    function: &FrameDescriptionEntry<Slice<'_>>,
    initial: Option<u64>,
    registers: &Registers<'_>,
) -> Option<u64> {
    let expression = expression.get(section).ok()?;
    let mut evaluation = expression.evaluation(function.cie().encoding());
    evaluation.set_max_iterations(MOST_STEPS);
    if let Some(value) = initial {
        evaluation.set_initial_value(value);
    }
    let mut result = evaluation.evaluate().ok()?;
    // Each answer takes at least one step.
    for _ in 0..MOST_STEPS {
        result = match result {
            EvaluationResult::Complete => break,
            EvaluationResult::RequiresRegister { register, .. } => {
                let value = Value::Generic(registers.get(register)?);
                evaluation.resume_with_register(value).ok()?
            }
            EvaluationResult::RequiresMemory { address, size: 8, .. } => {
                let value = Value::Generic(registers.load(address)?);
                evaluation.resume_with_memory(value).ok()?
            }
            _ => return None,
        };
    }
    match evaluation.as_result() {
        [
            Piece {
                location: Location::Address { address },
                ..
            },
        ] => Some(*address),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// `.eh_frame` with one function from 0x1000 to 0x1100, whose rules are given.
    fn tables(rules: &[u8]) -> Tables {
        // Version 1, no augmentation, factors 1 and -8, return address in register 16.
        let cie = [&[0, 0, 0, 0, 1, 0, 1, 0x78, 16][..], &[0; 3]].concat();
        let distance = (4 + cie.len() + 4) as u32;
        let mut fde = [distance.to_le_bytes().to_vec(), 0x1000_u64.to_le_bytes().to_vec()].concat();
        fde.extend(0x100_u64.to_le_bytes());
        fde.extend(rules);
        fde.resize(fde.len().next_multiple_of(4), 0);
        let mut frames = Vec::new();
        for entry in [cie, fde] {
            frames.extend((entry.len() as u32).to_le_bytes());
            frames.extend(entry);
        }
        frames.extend([0; 4]);
        Tables {
            frames,
            index: Vec::new(),
            index_address: 0,
            bases: BaseAddresses::default().set_eh_frame(0x5000),
        }
    }

    /// Numbers 0x100, 0x101, … on the stack.
    fn stack() -> UserStack {
        let mut stack = UserStack {
            ip: 0x1010,
            sp: 0x9000,
            bp: 0x9010,
            ..UserStack::default()
        };
        for number in 0x100_u64..0x120 {
            stack.bytes.extend(number.to_le_bytes());
        }
        stack
    }

    fn step(rules: &[u8]) -> Option<Step> {
        let stack = stack();
        tables(rules).step(0x1010, &mut Registers::of(&stack, &X86_64))
    }

    #[test]
    fn rules_are_followed() {
        // The frame ends at sp + 16, the return address lies 8 below.
        assert_eq!(step(&[0x0c, 7, 16, 0x90, 1]), Some(Step::Caller(0x101)));
        // At bp + 16.
        assert_eq!(step(&[0x0c, 6, 16, 0x90, 1]), Some(Step::Caller(0x103)));
        // By an expression: sp, 24, plus. As the linker's stubs have it.
        assert_eq!(step(&[0x0f, 4, 0x77, 0, 0x23, 24, 0x90, 1]), Some(Step::Caller(0x102)));
        // No rule for the return address.
        assert_eq!(step(&[0x0c, 7, 16]), Some(Step::Root));
        // A register that nobody knows; an address out of the copy.
        assert_eq!(step(&[0x0c, 3, 16, 0x90, 1]), Some(Step::Lost));
        assert_eq!(step(&[0x0c, 7, 0xff, 0x7f, 0x90, 1]), Some(Step::Lost));
        // It must lead upwards.
        assert_eq!(step(&[0x0c, 7, 0, 0x90, 0]), Some(Step::Lost));
        assert_eq!(tables(&[]).step(0x1100, &mut Registers::of(&stack(), &X86_64)), None);
    }

    #[test]
    fn an_expression_that_jumps_back_for_ever_is_left() {
        assert_eq!(step(&[0x0f, 3, 0x2f, 0xfd, 0xff, 0x90, 1]), Some(Step::Lost));
        // One that asks for a register each time.
        assert_eq!(
            step(&[0x0f, 6, 0x77, 0, 0x13, 0x2f, 0xfa, 0xff, 0x90, 1]),
            Some(Step::Lost)
        );
    }

    #[test]
    fn code_without_tables_is_left_by_frame_pointer() {
        let stack = stack();
        let mut registers = Registers::of(&stack, &X86_64);
        // What lies on top is no code: bp leads on, then to what is no place on the stack.
        assert_eq!(registers.step_by_frame_pointer(|_| false), Step::Caller(0x103));
        assert_eq!(registers.step_by_frame_pointer(|_| true), Step::Lost);
        let mut registers = Registers::of(&stack, &X86_64);
        assert_eq!(
            registers.step_by_frame_pointer(|address| address == 0x100),
            Step::Caller(0x100)
        );
        assert_eq!(registers.step_by_frame_pointer(|_| true), Step::Caller(0x103));
    }
}
