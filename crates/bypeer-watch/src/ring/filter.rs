//! The filter that the kernel runs on each packet: classic BPF. What it returns is how many bytes of the packet are kept.
//!
//! It is there to spare work and to keep payload out of this process. [`head`](super::head) checks everything again: packets may come
//! before the filter is attached, and not every case is worth an instruction.

use socket2::SockFilter;

use super::Options;

/// `ARPHRD_LOOPBACK` of linux/if_arp.h.
pub(super) const LOOPBACK: u16 = 772;
/// `PACKET_OUTGOING` of linux/if_packet.h.
pub(super) const OUTGOING: u8 = 4;
/// `ETH_P_8021Q` and `ETH_P_8021AD`.
pub(super) const VLAN: [u16; 2] = [0x8100, 0x88a8];
/// More than any packet has.
pub(super) const WHOLE: u32 = 0x10_0000;

/// More ports than this do not fit a jump; this process then looks at them alone.
const MOST_PORTS: usize = 100;

/// IPv6 extension headers that TCP may stand behind: hop-by-hop, routing, fragment, authentication, destination options, mobility.
pub(super) const EXTENSIONS: [u8; 6] = [0, 43, 44, 51, 60, 135];

/// Offsets at which the kernel shows what is not in the packet: `SKF_AD_OFF` of linux/filter.h.
const AD: u32 = -0x1000_i32 as u32;
const PROTOCOL: u32 = AD;
const PACKET_TYPE: u32 = AD + 4;
const HARDWARE_TYPE: u32 = AD + 28;

/// Operation codes, as linux/bpf_common.h puts them together.
pub(super) mod op {
    pub const LD_W_ABS: u16 = 0x20;
    pub const LD_H_ABS: u16 = 0x28;
    pub const LD_B_ABS: u16 = 0x30;
    pub const LD_H_IND: u16 = 0x48;
    pub const LD_B_IND: u16 = 0x50;
    pub const LD_IMM: u16 = 0x00;
    pub const LD_MEM: u16 = 0x60;
    pub const LDX_IMM: u16 = 0x01;
    pub const ST: u16 = 0x02;
    pub const ADD_K: u16 = 0x04;
    pub const ADD_X: u16 = 0x0c;
    pub const AND_K: u16 = 0x54;
    pub const LSH_K: u16 = 0x64;
    pub const RSH_K: u16 = 0x74;
    pub const JA: u16 = 0x05;
    pub const JEQ_K: u16 = 0x15;
    pub const JSET_K: u16 = 0x45;
    pub const RET_K: u16 = 0x06;
    pub const RET_A: u16 = 0x16;
    pub const TAX: u16 = 0x07;
    pub const TXA: u16 = 0x87;
}

/// An instruction: code, jumps when true and when false, constant.
pub(super) type Instruction = (u16, u8, u8, u32);

/// The program for the kernel.
pub(super) fn program(options: &Options) -> Vec<SockFilter> {
    let kernel = |(code, jump_true, jump_false, k)| SockFilter::new(code, jump_true, jump_false, k);
    instructions(options).into_iter().map(kernel).collect()
}

/// The program. Offset 0 is what follows the link layer's header.
pub(super) fn instructions(options: &Options) -> Vec<Instruction> {
    let mut code = Code::default();
    // Of loopback's two copies the one that comes in.
    code.add(op::LD_W_ABS, HARDWARE_TYPE);
    code.unless(u32::from(LOOPBACK), "link");
    code.add(op::LD_W_ABS, PACKET_TYPE);
    code.when(u32::from(OUTGOING), "drop");

    // X: where the IP header is. A tag mostly stands outside of the packet, but not in all that go out.
    code.label("link");
    code.add(op::LD_W_ABS, PROTOCOL);
    for tag in VLAN {
        code.when(u32::from(tag), "tag");
    }
    code.go("untagged");
    code.label("tag");
    code.add(op::LD_H_ABS, 2);
    code.when(0x0800, "tagged-v4");
    code.when(0x86dd, "tagged-v6");
    code.go("untagged");
    for (label, version) in [("tagged-v4", 0x40), ("tagged-v6", 0x60)] {
        code.label(label);
        code.add(op::LD_B_ABS, 4);
        code.add(op::AND_K, 0xf0);
        code.unless(version, "untagged");
        code.add(op::LDX_IMM, 4);
        code.go("ip");
    }
    code.label("untagged");
    code.add(op::LDX_IMM, 0);

    code.label("ip");
    // M[0]: what is kept beyond the headers.
    code.add(op::LD_IMM, if options.payload { WHOLE } else { 0 });
    code.add(op::ST, 0);
    code.add(op::LD_B_IND, 0);
    code.add(op::AND_K, 0xf0);
    code.when(0x40, "v4");
    code.when(0x60, "v6");
    code.go("drop");

    code.label("v4");
    code.add(op::LD_B_IND, 9);
    code.unless(6, "drop");
    code.add(op::LD_H_IND, 6);
    code.when_set(0x1fff, "drop");
    code.add(op::LD_H_IND, 2);
    code.unless(0, "v4-sized");
    code.whole();
    code.label("v4-sized");
    code.add(op::LD_B_IND, 0);
    code.add(op::AND_K, 0x0f);
    code.add(op::LSH_K, 2);
    code.add(op::ADD_X, 0);
    code.add(op::TAX, 0);
    code.go("tcp");

    code.label("v6");
    code.add(op::LD_B_IND, 6);
    // Behind extension headers TCP is looked for by this process.
    for header in EXTENSIONS {
        code.when(u32::from(header), "all");
    }
    code.unless(6, "drop");
    code.add(op::LD_H_IND, 4);
    code.unless(0, "v6-sized");
    code.whole();
    code.label("v6-sized");
    code.add(op::TXA, 0);
    code.add(op::ADD_K, 40);
    code.add(op::TAX, 0);

    // X: where the TCP header is.
    code.label("tcp");
    if !options.ports.is_empty() && options.ports.len() <= MOST_PORTS {
        for offset in [0, 2] {
            code.add(op::LD_H_IND, offset);
            for port in &options.ports {
                code.when(u32::from(*port), "wanted");
            }
        }
        code.go("drop");
    }
    code.label("wanted");
    code.add(op::LD_B_IND, 12);
    code.add(op::AND_K, 0xf0);
    code.add(op::RSH_K, 2);
    code.add(op::ADD_X, 0);
    code.add(op::TAX, 0);
    code.add(op::LD_MEM, 0);
    code.add(op::ADD_X, 0);
    code.add(op::RET_A, 0);
    code.label("all");
    code.add(op::RET_K, WHOLE);
    code.label("drop");
    code.add(op::RET_K, 0);
    code.finish()
}

/// A program whose jumps go forward to labels.
#[derive(Default)]
struct Code {
    instructions: Vec<Instruction>,
    labels: Vec<(&'static str, usize)>,
    jumps: Vec<(usize, &'static str)>,
}

impl Code {
    fn add(&mut self, code: u16, k: u32) {
        self.instructions.push((code, 0, 0, k));
    }

    fn label(&mut self, name: &'static str) {
        self.labels.push((name, self.instructions.len()));
    }

    fn go(&mut self, to: &'static str) {
        self.jumps.push((self.instructions.len(), to));
        self.add(op::JA, 0);
    }

    /// Goes to a label when A is `k`. The jump stands alone, so that it may be far.
    fn when(&mut self, k: u32, to: &'static str) {
        self.instructions.push((op::JEQ_K, 0, 1, k));
        self.go(to);
    }

    fn unless(&mut self, k: u32, to: &'static str) {
        self.instructions.push((op::JEQ_K, 1, 0, k));
        self.go(to);
    }

    fn when_set(&mut self, bits: u32, to: &'static str) {
        self.instructions.push((op::JSET_K, 0, 1, bits));
        self.go(to);
    }

    /// The IP header does not say how long the packet is (it is larger than 64 KiB): only a packet that is not cut tells. Leaves X as it was.
    fn whole(&mut self) {
        self.add(op::LD_IMM, WHOLE);
        self.add(op::ST, 0);
    }

    fn finish(mut self) -> Vec<Instruction> {
        for (at, to) in &self.jumps {
            let target = self
                .labels
                .iter()
                .find(|(name, _)| name == to)
                .map(|(_, target)| *target);
            let target = target.expect("each label that is jumped to is set");
            self.instructions[*at].3 = (target - at - 1) as u32;
        }
        self.instructions
    }
}
