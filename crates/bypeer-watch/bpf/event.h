/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * One record of the ring, as `src/bpf/decode.rs` reads it, field by field in this order. Numbers are in the machine's byte order.
 * Nothing is padded by the compiler: the assertions at the end hold the sizes, and what a part says is good only if `parts` has it.
 */
#ifndef EVENT_H
#define EVENT_H

#define FRAMES 24
#define DEEDS 16
#define PAYLOAD 512
#define STACK 16384
/* Of the stack of a close that may turn out to have been a stray one. */
#define STRAY_STACK 4096
#define NO_DESCRIPTOR 0xffff

/* Numbers of `event::Kind`. */
enum kind { RESET_SENT, RESET_RECEIVED, FAILED, CLOSED, SWAPPED, DROPPED, SIGNALLED, RETAKEN };

/* `event.parts` */
enum part {
    PART_REASON = 1,
    PART_ENDS = 2,
    PART_TCP = 4,
    PART_SEGMENT = 8,
    PART_CLOSING = 16,
    PART_HISTORY = 32, /* struct history follows the event */
    PART_USER = 64,
    PART_STACK = 128, /* STACK bytes follow, user.length of them good */
    PART_OTHER = 256, /* for SWAPPED and RETAKEN: struct other follows, and STRAY_STACK bytes, other.user.length of them good */
};

/* Addresses are IPv6 or IPv4-mapped IPv6, in network order; ports are in host order. Also read in words of 8 bytes. */
struct ends {
    __u32 local[4], remote[4];
    __u16 local_port, remote_port;
    __u32 netns;
} __attribute__((aligned(8)));

struct task {
    __u32 pid, tid, uid, acting;
    __s64 call;
    __u64 arguments[3];
    __u32 exiting, exit_code;
    __u64 started, cgroup;
    char name[16];
};

struct tcp {
    __u32 shutdown, error, linger, orphan, owned, unread, unsent, unacked;
    __u64 linger_ticks, received, acked, sent, retransmitted;
    __u32 fin_received, round_trip, retransmits, probes, user_timeout, receive_mss;
    __u32 ticks_since_sent, ticks_since_received, receive_window, waiting, backlog, receive_next;
};

struct segment {
    __u32 source[4], destination[4];
    __u16 source_port, destination_port;
    __u32 seq, ack, len;
    __u16 window, flags;
    __u32 reserved;
};

struct closing {
    __u64 at, cookie, received, sent;
    __u32 ticks_since_received, ticks_since_sent, backlog, half, state, receive_next;
    struct task task;
};

struct user {
    __u64 ip, sp, bp;
    __u32 frames, length;
    __u64 addresses[FRAMES];
};

/*
 * SIGNALLED is about a process in place of a socket: `inode` is its id, `cookie` when it started, `reason` the signal, `state` 1 where the
 * kernel sent it of itself, and `task` who sent it otherwise.
 */
struct event {
    __u32 size;
    __u16 kind, parts;
    __u64 at, cookie, inode;
    struct ends ends;
    __u32 reason, state;
    struct task task;
    struct tcp tcp;
    struct segment segment;
    struct closing closing;
    struct user user;
    __u32 kernel_frames, reserved;
    __u64 kernel[FRAMES];
};

enum deed_kind { DEED_READ = 1, DEED_WROTE, DEED_ARRIVED, DEED_STATE };

struct deed {
    __u64 at, value;
    __u32 tid;
    __u16 descriptor;
    __u8 what, count;
};

struct user_of {
    __u32 pid, tid, descriptor, known;
};

struct run {
    __u64 total, at;
    __u32 length, cut;
    __u8 bytes[PAYLOAD];
};

/* What is kept with a socket from its first read or write on, and its form on the ring. */
struct history {
    __u64 first;
    __u32 deeds, unreadable;
    struct user_of reader, writer;
    struct deed deed[DEEDS]; /* deed n is at n % DEEDS */
    struct run read, written;
};

struct other {
    __u64 cookie, read_at;
    struct ends ends;
    __u32 descriptor, answered, closing_known, reserved;
    struct closing closing;
    struct user user;
};

#define HAS_SIZE(type, size) _Static_assert(sizeof(type) == (size), "padded, or decode.rs has to follow")
HAS_SIZE(struct ends, 40);
HAS_SIZE(struct task, 88);
HAS_SIZE(struct tcp, 120);
HAS_SIZE(struct segment, 56);
HAS_SIZE(struct closing, 144);
HAS_SIZE(struct user, 224);
HAS_SIZE(struct event, 912);
HAS_SIZE(struct history, 1504);
HAS_SIZE(struct other, 440);

#endif
