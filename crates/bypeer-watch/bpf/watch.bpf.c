// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * What happens to TCP connections, seen from within the kernel: resets, failures, closes; from tier 1 on also who reads and writes.
 *
 * A connection that stays healthy makes no event. In tier 0 it costs a note of each end that closes, and nothing else: whatever is added
 * to `note_closing` is paid for by every connection of the machine.
 *
 * Each program is loaded and attached by itself, and none relies on another: what a kernel lacks is missing from the events, no more.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include "event.h"

/* GPL-2.0-only is what the kernel's helpers ask for; MIT OR GPL-2.0-only is that. */
char LICENSE[] SEC("license") = "Dual MIT/GPL";

/* Set by the loader before the programs are verified, so that what a tier leaves out is no instruction at all. */
const volatile __u32 tier = 0;
/* Inode of the only network namespace that counts; 0: all. */
const volatile __u32 only_netns = 0;
const volatile __u32 with_stacks = 1;
/* The only local or remote ports that count; all where the first is 0. */
#define PORTS 16
const volatile __u16 only_ports[PORTS] = {};
/* Numbers of the reasons that a dropped segment is told for; unused ones are 0. They differ between kernels. */
#define DROP_REASONS 8
const volatile __u32 drop_reasons[DROP_REASONS] = {};
/* Where inet_csk_listen_stop() lies; 0 where addresses are hidden. */
const volatile __u64 listen_stop_begin = 0;
const volatile __u64 listen_stop_end = 0;

enum { TIER_RESETS, TIER_CALLS, TIER_PAYLOAD };

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 4 << 20);
} events SEC(".maps");

/* What is missing from the ring, by processor: for want of room, or because nobody asked for its ports. */
enum loss { LOST_EVENT, LOST_STACK, PASSED_SENT, PASSED_RECEIVED, PASSED_FAILED, LOSSES };
struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, LOSSES);
    __type(key, __u32);
    __type(value, __u64);
} losses SEC(".maps");

/*
 * Copies of stacks are left out when they come in storms: they are most of what an event weighs, and alike. Also when they fill more of
 * the ring than this, so that events without them are not lost for their sake.
 */
#define STACKS_A_SECOND 500
#define RING_FOR_STACKS (1 << 20)
struct storm {
    __u64 second;
    __u64 stacks;
};
struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct storm);
} storms SEC(".maps");

/*
 * Who closed which connection, so that a reset that answers late data can tell. The socket is gone by then.
 *
 * Every connection pays for this, and what it pays for is memory that is in no cache. So notes are written one behind the other, which a
 * processor sees coming, into a ring of its own where there are enough rings; and what is written at random, to find them again by their
 * ends, is a word: the numbers of the newest notes of the same hash. A number may be lost where two processors want its bucket at once.
 * So a note may be missing, and never is another's.
 */
#define NOTES 16384
#define BUCKETS 16384
#define RINGS_MOST 4
/* How many there are: a power of two, set by the loader to no more than there are processors. */
const volatile __u32 rings = 1;
struct note {
    /* Unlike that of any other note; 0 while it is written. */
    __u64 number;
    struct ends ends;
    struct closing closing;
};
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, NOTES);
    __type(key, __u32);
    __type(value, struct note);
} notes SEC(".maps");
/* How many notes a ring has taken: a cache line for each. */
struct taken {
    __u64 count;
    __u64 reserved[7];
};
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, RINGS_MOST);
    __type(key, __u32);
    __type(value, struct taken);
} taken SEC(".maps");
/* Places of notes, the newest in the lowest 16 bits. */
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, BUCKETS);
    __type(key, __u32);
    __type(value, __u64);
} buckets SEC(".maps");

/* Sockets that an event was about and that are still somebody's: their end is told too. In the socket, for a look that costs nothing. */
struct {
    __uint(type, BPF_MAP_TYPE_SK_STORAGE);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __type(key, int);
    __type(value, __u32);
} awaited SEC(".maps");

/* From here on for tier 1. */

enum direction { READING = 1, WRITING };
struct record {
    struct history history;
    __u32 direction, reserved;
    /* The verifier does not see that a write into the last run ends where the run ends. */
    __u8 slack[PAYLOAD];
};
struct {
    __uint(type, BPF_MAP_TYPE_SK_STORAGE);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __type(key, int);
    __type(value, struct record);
} records SEC(".maps");

/* What each thread read last, until it closes that connection or another thread answers there. */
struct reading {
    __u64 cookie, at, started;
    __u32 descriptor, answered;
    struct ends ends;
};
struct {
    __uint(type, BPF_MAP_TYPE_LRU_HASH);
    __uint(max_entries, 16384);
    __type(key, __u32);
    __type(value, struct reading);
} readings SEC(".maps");

/* The stacks of closes by another thread than the one that reads there. */
struct stray {
    struct user user;
    __u8 stack[STRAY_STACK];
};
struct {
    __uint(type, BPF_MAP_TYPE_LRU_HASH);
    __uint(max_entries, 256);
    __type(key, struct ends);
    __type(value, struct stray);
} strays SEC(".maps");
/*
 * Numbers that another thread than the reader closed over a request without an answer, until the process reads another connection there.
 * The reader's own note above does not last: a thread that serves many connections has read from others by then.
 */
struct number {
    __u32 pid, descriptor;
};
struct vacancy {
    struct reading reading;
    __u64 closed;
    __u32 tid, reserved;
};
struct {
    __uint(type, BPF_MAP_TYPE_LRU_HASH);
    __uint(max_entries, 256);
    __type(key, struct number);
    __type(value, struct vacancy);
} vacancies SEC(".maps");
/* Who waits for an answer for longer has given up: what is read under the number then is no matter. */
#define VACANT_FOR 60000000000ULL
/* An empty stray: too big for a program's own stack. */
struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct stray);
} blank SEC(".maps");

static __always_inline void count(__u32 which)
{
    __u64 *value = bpf_map_lookup_elem(&losses, &which);
    if (value)
        (*value)++;
}

static __always_inline bool is_elsewhere(const struct sock *sk)
{
    return only_netns && sk->__sk_common.skc_net.net->ns.inum != only_netns;
}

static __always_inline bool is_asked_for(__u16 local, __u16 remote)
{
    if (!only_ports[0])
        return true;
    for (int i = 0; i < PORTS && only_ports[i]; i++) {
        if (only_ports[i] == local || only_ports[i] == remote)
            return true;
    }
    return false;
}

static __always_inline bool is_tcp(const struct sock *sk)
{
    __u16 family = sk->__sk_common.skc_family;
    return (family == AF_INET || family == AF_INET6) && sk->sk_protocol == IPPROTO_TCP;
}

/* ::ffff:a.b.c.d, so that a connection has the same ends whichever kind of socket it is seen by. */
static __always_inline void map_address(__u32 *to, __be32 address)
{
    to[0] = 0;
    to[1] = 0;
    to[2] = bpf_htonl(0xffff);
    to[3] = address;
}

/* Of any kind of socket. `tp` is it again where it is a full TCP socket: there the local port is gone from skc_num after the close. */
static __noinline int ends_of(struct ends *ends, const struct sock *sk, const struct tcp_sock *tp)
{
    const struct sock_common *common = &sk->__sk_common;

    if (common->skc_family == AF_INET) {
        map_address(ends->local, common->skc_rcv_saddr);
        map_address(ends->remote, common->skc_daddr);
    } else {
        for (int i = 0; i < 4; i++) {
            ends->local[i] = common->skc_v6_rcv_saddr.in6_u.u6_addr32[i];
            ends->remote[i] = common->skc_v6_daddr.in6_u.u6_addr32[i];
        }
    }
    ends->local_port = tp ? bpf_ntohs(tp->inet_conn.icsk_inet.inet_sport) : common->skc_num;
    ends->remote_port = bpf_ntohs(common->skc_dport);
    ends->netns = common->skc_net.net->ns.inum;
    return 0;
}

static __always_inline __u64 *bucket_of(const struct ends *ends)
{
    const __u64 *words = (const void *)ends;
    __u64 hash = 0;
    __u32 index;

    for (__u32 i = 0; i < sizeof(*ends) / 8; i++) {
        /* 2^64 / the golden ratio: each bit of a word reaches the upper half, from where it comes down again. */
        hash = (hash ^ words[i]) * 0x9e3779b97f4a7c15;
        hash ^= hash >> 32;
    }
    index = hash % BUCKETS;
    return bpf_map_lookup_elem(&buckets, &index);
}

/* The next note of this processor's ring, and what its number will be. */
static __always_inline struct note *begin_note(__u32 *place, __u64 *number)
{
    __u32 ring = bpf_get_smp_processor_id() & (rings - 1) & (RINGS_MOST - 1);
    struct taken *of_ring = bpf_map_lookup_elem(&taken, &ring);
    struct note *note;
    __u64 before;

    if (!of_ring)
        return NULL;
    before = __sync_fetch_and_add(&of_ring->count, 1);
    *number = (before + 1) * RINGS_MOST + ring;
    *place = ring * (NOTES / rings) + (before & (NOTES / rings - 1));
    note = bpf_map_lookup_elem(&notes, place);
    if (note)
        WRITE_FIRST(&note->number, 0);
    return note;
}

static __always_inline void end_note(struct note *note, __u32 place, __u64 number)
{
    __u64 *bucket = bucket_of(&note->ends);

    /* An exchange lies behind all that was written before. */
    __sync_lock_test_and_set(&note->number, number);
    if (bucket)
        *bucket = *bucket << 16 | place;
}

static __always_inline bool is_same(const struct ends *one, const struct ends *other)
{
    const __u64 *a = (const void *)one, *b = (const void *)other;

    for (__u32 i = 0; i < sizeof(*one) / 8; i++) {
        if (a[i] != b[i])
            return false;
    }
    return true;
}

/* The last close between these ends; false when it is not known. */
static __noinline int recall(struct closing *to, const struct ends *ends)
{
    __u64 *bucket = bucket_of(ends), places;

    if (!bucket)
        return false;
    places = *bucket;
    for (int i = 0; i < 4; i++, places >>= 16) {
        __u32 place = places & (NOTES - 1);
        struct note *note = bpf_map_lookup_elem(&notes, &place);
        __u64 number;

        if (!note)
            return false;
        number = __sync_fetch_and_add(&note->number, 0);
        if (!number || !is_same(&note->ends, ends))
            continue;
        *to = note->closing;
        return __sync_fetch_and_add(&note->number, 0) == number;
    }
    return false;
}

static __noinline int task_now(struct task *to, __u32 acting)
{
    struct task_struct *task = bpf_get_current_task_btf();

    to->pid = task->tgid;
    to->tid = task->pid;
    to->uid = task->cred->euid.val;
    to->acting = acting;
    /* These have no program that called the kernel: what stands in the place of its registers is none of theirs. */
    if (task->flags & (PF_KTHREAD | PF_IO_WORKER)) {
        to->call = -1;
        to->arguments[0] = to->arguments[1] = to->arguments[2] = 0;
    } else {
        struct pt_regs *regs = (void *)bpf_task_pt_regs(task);
        to->call = CALL(regs);
        to->arguments[0] = ARGUMENT_0(regs);
        to->arguments[1] = ARGUMENT_1(regs);
        to->arguments[2] = ARGUMENT_2(regs);
    }
    to->exiting = !!(task->flags & PF_EXITING);
    to->exit_code = task->signal->group_exit_code;
    to->started = task->group_leader->start_boottime;
    to->cgroup = bpf_get_current_cgroup_id();
    bpf_get_current_comm(to->name, sizeof(to->name));
    return 0;
}

static __always_inline void tcp_of(struct tcp *to, struct tcp_sock *tp)
{
    const struct inet_connection_sock *icsk = &tp->inet_conn;
    const struct sock *sk = &icsk->icsk_inet.sk;
    unsigned long flags = sk->__sk_common.skc_flags;
    __u32 ticks = bpf_jiffies64();

    to->shutdown = sk->sk_shutdown;
    to->error = sk->sk_err;
    to->linger = !!(flags & (1 << SOCK_LINGER));
    to->orphan = !!(flags & (1 << SOCK_DEAD));
    to->owned = sk->sk_lock.owned != 0;
    to->unread = tp->rcv_nxt - tp->copied_seq;
    to->unsent = tp->write_seq - tp->snd_nxt;
    to->unacked = tp->snd_nxt - tp->snd_una;
    to->linger_ticks = sk->sk_lingertime;
    to->received = tp->bytes_received;
    to->acked = tp->bytes_acked;
    to->sent = tp->bytes_sent;
    to->retransmitted = tp->bytes_retrans;
    /* Not from sk_shutdown: a close sets both of its bits before it does anything. */
    to->fin_received = !!(flags & (1 << SOCK_DONE));
    to->round_trip = tp->srtt_us >> 3;
    to->retransmits = icsk->icsk_retransmits;
    to->probes = icsk->icsk_probes_out;
    to->user_timeout = icsk->icsk_user_timeout;
    to->receive_mss = icsk->icsk_ack.rcv_mss;
    to->ticks_since_sent = ticks - tp->lsndtime;
    to->ticks_since_received = ticks - icsk->icsk_ack.lrcvtime;
    to->receive_window = tp->rcv_wnd;
    to->waiting = sk->sk_ack_backlog;
    to->backlog = sk->sk_max_ack_backlog;
    to->receive_next = tp->rcv_nxt;
}

/* The headers of a TCP segment; false when it is none, or they are not all there. */
static __noinline int segment_of(struct segment *to, const struct sk_buff *skb)
{
    const unsigned char *head = BPF_CORE_READ(skb, head);
    const unsigned char *network = head + BPF_CORE_READ(skb, network_header);
    __u16 transport_header = BPF_CORE_READ(skb, transport_header);
    const unsigned char *transport = head + transport_header;
    struct tcphdr tcp;
    __u8 version = 0;
    __u32 end;

    /* Not set. */
    if (transport_header == 0xffff)
        return false;
    /* What is there of the buffer, for packets too big for a length in their header. */
    end = BPF_CORE_READ(skb, len) + (BPF_CORE_READ(skb, data) - transport);
    bpf_probe_read_kernel(&version, 1, network);
    if (version >> 4 == 4) {
        struct iphdr ip;
        if (bpf_probe_read_kernel(&ip, sizeof(ip), network) || ip.protocol != IPPROTO_TCP)
            return false;
        map_address(to->source, ip.saddr);
        map_address(to->destination, ip.daddr);
        if (ip.tot_len)
            end = bpf_ntohs(ip.tot_len) - (transport - network);
    } else if (version >> 4 == 6) {
        struct ipv6hdr ip;
        if (bpf_probe_read_kernel(&ip, sizeof(ip), network) || ip.nexthdr != IPPROTO_TCP)
            return false;
        for (int i = 0; i < 4; i++) {
            to->source[i] = ip.saddr[i];
            to->destination[i] = ip.daddr[i];
        }
        if (ip.payload_len)
            end = bpf_ntohs(ip.payload_len) + sizeof(ip) - (transport - network);
    } else {
        return false;
    }
    if (bpf_probe_read_kernel(&tcp, sizeof(tcp), transport))
        return false;
    to->source_port = bpf_ntohs(tcp.source);
    to->destination_port = bpf_ntohs(tcp.dest);
    to->seq = bpf_ntohl(tcp.seq);
    to->ack = bpf_ntohl(tcp.ack_seq);
    to->len = end - (tcp.offset >> 4) * 4;
    to->window = bpf_ntohs(tcp.window);
    to->flags = tcp.flags;
    to->reserved = 0;
    return true;
}

/* The ends of a connection whose socket is not there, from a segment that came in. */
static __always_inline void ends_from(struct ends *ends, const struct segment *segment, bool is_outgoing)
{
    for (int i = 0; i < 4; i++) {
        ends->local[i] = is_outgoing ? segment->source[i] : segment->destination[i];
        ends->remote[i] = is_outgoing ? segment->destination[i] : segment->source[i];
    }
    ends->local_port = is_outgoing ? segment->source_port : segment->destination_port;
    ends->remote_port = is_outgoing ? segment->destination_port : segment->source_port;
}

static __always_inline __u32 netns_of(const struct sk_buff *skb)
{
    return BPF_CORE_READ(skb, dev, nd_net.net, ns.inum);
}

static __always_inline __u64 inode_of(const struct tcp_sock *tp)
{
    const struct socket *socket = tp->inet_conn.icsk_inet.sk.sk_socket;

    if (!socket)
        return 0;
    const struct socket_alloc *file = (const void *)socket - bpf_core_field_offset(struct socket_alloc, socket);
    return BPF_CORE_READ(file, vfs_inode.i_ino);
}

/*
 * Before anything is done for an event: one of other ports takes no room from those that were asked for, but is counted. The error of a
 * reset is no failure of its own.
 */
static __noinline int passes_over(const struct sock *sk, const struct tcp_sock *tp, const struct sk_buff *skb, __u32 kind)
{
    struct segment segment;
    __u16 local, remote;

    if (!only_ports[0])
        return false;
    if (sk && sk->__sk_common.skc_state != TCP_LISTEN) {
        local = tp ? bpf_ntohs(tp->inet_conn.icsk_inet.inet_sport) : sk->__sk_common.skc_num;
        remote = bpf_ntohs(sk->__sk_common.skc_dport);
    } else if (skb && segment_of(&segment, skb)) {
        local = segment.destination_port;
        remote = segment.source_port;
    } else {
        return false;
    }
    if (is_asked_for(local, remote))
        return false;
    if (kind == RESET_SENT)
        count(PASSED_SENT);
    else if (kind == RESET_RECEIVED)
        count(PASSED_RECEIVED);
    else if (kind == FAILED && remote && tp && sk && sk->sk_err != ECONNRESET && sk->sk_err != EPIPE)
        count(PASSED_FAILED);
    return true;
}

/* Pages that are not there end it: nothing can be fetched from here. */
#define COPY_STACK(to, size, from)                                                            \
    ({                                                                                    \
        __u32 length = 0;                                                             \
        for (int i = 0; i < (size) / 1024; i++) {                                     \
            if (bpf_probe_read_user((to) + i * 1024, 1024, (void *)((from) + i * 1024))) \
                break;                                                        \
            length += 1024;                                                       \
        }                                                                             \
        length;                                                                       \
    })

/* The program's stack, without the copy. */
static __noinline int user_now(void *ctx, struct user *to)
{
    struct task_struct *task = bpf_get_current_task_btf();
    struct pt_regs *regs = (void *)bpf_task_pt_regs(task);
    long size;

    to->ip = INSTRUCTION_POINTER(regs);
    to->sp = STACK_POINTER(regs);
    to->bp = FRAME_POINTER(regs);
    size = bpf_get_stack(ctx, to->addresses, sizeof(to->addresses), BPF_F_USER_STACK);
    to->frames = size > 0 ? (__u64)size / 8 : 0;
    to->length = 0;
    return 0;
}

/* An exiting task has no memory any more, a thread of the kernel never had any. */
static __always_inline bool has_user_stack(void)
{
    return !(bpf_get_current_task_btf()->flags & (PF_EXITING | PF_KTHREAD | PF_IO_WORKER));
}

static __always_inline bool is_storm(__u64 now)
{
    __u32 zero = 0;
    struct storm *storm = bpf_map_lookup_elem(&storms, &zero);

    if (!storm || bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) > RING_FOR_STACKS)
        return true;
    /* A second of 2^30 ns will do. */
    if (storm->second != now >> 30) {
        storm->second = now >> 30;
        storm->stacks = 0;
    }
    return ++storm->stacks > STACKS_A_SECOND;
}

/* Closing a listener resets its connections without taking their locks: only the way here tells that from a timer. */
static __always_inline bool closes_listener(void *ctx)
{
    __u64 frames[12] = {};

    if (!listen_stop_begin || bpf_get_stack(ctx, frames, sizeof(frames), 0) < 0)
        return false;
    for (int i = 0; i < 12; i++) {
        if (frames[i] >= listen_stop_begin && frames[i] < listen_stop_end)
            return true;
    }
    return false;
}

static __always_inline void take_frames(void *ctx, struct event *event)
{
    long size = bpf_get_stack(ctx, event->kernel, sizeof(event->kernel), 0);

    event->kernel_frames = size > 0 ? (__u64)size / 8 : 0;
    event->reserved = 0;
}

#define SIZE_OF(with_record, with_stack) \
    (sizeof(struct event) + ((with_record) ? sizeof(struct history) : 0) + ((with_stack) ? STACK : 0))

/*
 * An event about a socket, or about a segment without one. `about`: kind in the low 8 bits, whether there is a reason in the next,
 * the reason in the upper 32.
 */
#define HAS_REASON 0x100
static __noinline int emit(void *ctx, struct sock *sk, struct sk_buff *skb, __u64 about)
{
    __u64 now = bpf_ktime_get_ns();
    __u32 kind = about & 0xff;
    struct tcp_sock *tp = NULL;
    struct record *record = NULL;
    struct event *event;
    bool acting = false, stack = false;
    __u32 parts = 0, state = 0, size;

    if (sk) {
        state = sk->__sk_common.skc_state;
        /* NULL for the small sockets of TIME_WAIT and NEW_SYN_RECV, which have nothing of what is read below. */
        tp = bpf_skc_to_tcp_sock(sk);
    }
    if (passes_over(sk, tp, skb, kind))
        return 0;
    if (tp) {
        acting = tp->inet_conn.icsk_inet.sk.sk_lock.owned != 0;
        if (!acting && !skb && kind != RESET_RECEIVED && kind != FAILED)
            acting = closes_listener(ctx);
        if (tier >= TIER_CALLS)
            record = bpf_sk_storage_get(&records, sk, 0, 0);
        if (state != TCP_LISTEN && kind != CLOSED && (kind != RESET_SENT || !acting))
            bpf_sk_storage_get(&awaited, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
    }
    /* The others are not what the task does, but what it comes upon. */
    if (with_stacks && acting && (kind == RESET_SENT || kind == CLOSED) && has_user_stack()) {
        stack = !is_storm(now);
        if (!stack)
            count(LOST_STACK);
    }

    if (tier >= TIER_CALLS && record) {
        size = stack ? SIZE_OF(1, 1) : SIZE_OF(1, 0);
        event = stack ? bpf_ringbuf_reserve(&events, SIZE_OF(1, 1), 0) : bpf_ringbuf_reserve(&events, SIZE_OF(1, 0), 0);
    } else {
        size = stack ? SIZE_OF(0, 1) : SIZE_OF(0, 0);
        event = stack ? bpf_ringbuf_reserve(&events, SIZE_OF(0, 1), 0) : bpf_ringbuf_reserve(&events, SIZE_OF(0, 0), 0);
    }
    if (!event) {
        count(LOST_EVENT);
        return 0;
    }
    event->size = size;
    event->kind = kind;
    event->at = now;
    event->cookie = 0;
    event->inode = 0;
    event->reason = about >> 32;
    event->state = state;
    if (about & HAS_REASON)
        parts |= PART_REASON;

    if (skb && segment_of(&event->segment, skb))
        parts |= PART_SEGMENT;
    if (sk && state != TCP_LISTEN) {
        ends_of(&event->ends, sk, tp);
        parts |= PART_ENDS;
    } else if (parts & PART_SEGMENT) {
        ends_from(&event->ends, &event->segment, false);
        event->ends.netns = sk ? sk->__sk_common.skc_net.net->ns.inum : netns_of(skb);
        parts |= PART_ENDS;
    }
    if (sk)
        event->cookie = bpf_get_socket_cookie(sk);
    if (tp) {
        event->inode = inode_of(tp);
        tcp_of(&event->tcp, tp);
        parts |= PART_TCP;
    }
    if (parts & PART_ENDS) {
        struct closing *closing = &event->closing;
        bool is_known = recall(closing, &event->ends);
        /* Not that of an earlier connection between the same ends, and not what is being done right now. */
        bool is_its = is_known && (!event->cookie || state == TCP_LISTEN || closing->cookie == event->cookie);
        if (is_its && !(acting && closing->state == TCP_CLOSE && kind == RESET_SENT))
            parts |= PART_CLOSING;
    }
    task_now(&event->task, acting);
    take_frames(ctx, event);
    if (tier >= TIER_CALLS && record) {
        bpf_probe_read_kernel(event + 1, sizeof(struct history), &record->history);
        parts |= PART_HISTORY;
    }
    if (acting && has_user_stack()) {
        user_now(ctx, &event->user);
        parts |= PART_USER;
    }
    if (stack) {
        if (tier >= TIER_CALLS && record)
            event->user.length = COPY_STACK((void *)event + SIZE_OF(1, 0), STACK, event->user.sp);
        else
            event->user.length = COPY_STACK((void *)event + SIZE_OF(0, 0), STACK, event->user.sp);
        parts |= PART_STACK;
    }
    event->parts = parts;
    bpf_ringbuf_submit(event, 0);
    return 0;
}

SEC("tp_btf/tcp_send_reset")
int reset_sent(__u64 *ctx)
{
    struct sock *sk = (void *)ctx[0];
    struct sk_buff *skb = (void *)ctx[1];
    __u64 about = RESET_SENT;

    if (sk) {
        if (is_elsewhere(sk))
            return 0;
    } else if (!skb || (only_netns && netns_of(skb) != only_netns)) {
        return 0;
    }
    /* Since Linux 6.10. */
    if (bpf_core_type_exists(enum sk_rst_reason))
        about |= HAS_REASON | (__u64)(__u32)ctx[2] << 32;
    return emit(ctx, sk, skb, about);
}

SEC("tp_btf/tcp_receive_reset")
int reset_received(__u64 *ctx)
{
    struct sock *sk = (void *)ctx[0];

    return is_elsewhere(sk) ? 0 : emit(ctx, sk, NULL, RESET_RECEIVED);
}

SEC("tp_btf/inet_sk_error_report")
int failed(__u64 *ctx)
{
    struct sock *sk = (void *)ctx[0];

    /* Without an error it only says that a timestamp or a buffer is ready. */
    if (!is_tcp(sk) || !sk->sk_err || is_elsewhere(sk))
        return 0;
    return emit(ctx, sk, NULL, FAILED);
}

static __always_inline void forget_reading(__u32 tid, __u64 cookie)
{
    struct reading *reading = bpf_map_lookup_elem(&readings, &tid);

    if (reading && reading->cookie == cookie)
        reading->cookie = 0;
}

SEC("tp_btf/tcp_destroy_sock")
int destroyed(__u64 *ctx)
{
    struct sock *sk = (void *)ctx[0];

    if (is_elsewhere(sk))
        return 0;
    /* A socket that was reset before makes no change of state when its owner closes it. */
    if (tier >= TIER_CALLS)
        forget_reading(bpf_get_current_pid_tgid(), bpf_get_socket_cookie(sk));
    if (!bpf_sk_storage_get(&awaited, sk, 0, 0))
        return 0;
    return emit(ctx, sk, NULL, CLOSED);
}

/* Who connects with a descriptor knows that it is another connection than before. */
static __always_inline void forget_descriptor(void)
{
    struct task_struct *task = bpf_get_current_task_btf();
    struct pt_regs *regs = (void *)bpf_task_pt_regs(task);
    __u32 tid = task->pid;
    struct reading *reading = bpf_map_lookup_elem(&readings, &tid);

    if (reading && (CALL(regs) != CALL_CONNECT || ARGUMENT_0(regs) == reading->descriptor))
        reading->cookie = 0;
}

static __always_inline void add_deed(struct history *history, __u8 what, __u32 tid, __u16 descriptor, __u64 value, __u64 now)
{
    struct deed *deed = &history->deed[(history->deeds - 1) % DEEDS];

    if (history->deeds && deed->what == what && what != DEED_STATE && deed->tid == tid && deed->descriptor == descriptor) {
        deed->value += value;
        deed->at = now;
        if (deed->count < 255)
            deed->count++;
        return;
    }
    deed = &history->deed[history->deeds % DEEDS];
    history->deeds++;
    deed->at = now;
    deed->value = value;
    deed->tid = tid;
    deed->descriptor = descriptor;
    deed->what = what;
    deed->count = 1;
}

static __always_inline void note_stray(void *ctx, const struct ends *ends)
{
    __u32 zero = 0;
    struct stray *stray = bpf_map_lookup_elem(&blank, &zero);

    if (!stray || bpf_map_update_elem(&strays, ends, stray, BPF_ANY))
        return;
    stray = bpf_map_lookup_elem(&strays, ends);
    if (!stray)
        return;
    user_now(ctx, &stray->user);
    stray->user.length = COPY_STACK(stray->stack, STRAY_STACK, stray->user.sp);
}

/* Whether the call that runs frees this very number. */
static __always_inline bool frees(__u32 descriptor)
{
    struct pt_regs *regs = (void *)bpf_task_pt_regs(bpf_get_current_task_btf());

    switch (CALL(regs)) {
    case CALL_CLOSE:
        return (__u32)ARGUMENT_0(regs) == descriptor;
    case CALL_DUP2:
    case CALL_DUP3:
        return (__u32)ARGUMENT_1(regs) == descriptor;
    }
    return false;
}

/* A client that has left waits for no answer, and one that was sent anything may have had it: neither is noted. */
static __noinline int note_vacancy(struct sock *sk, struct tcp_sock *tp, struct record *record, const struct ends *ends)
{
    struct task_struct *task = bpf_get_current_task_btf();
    struct user_of *reader = &record->history.reader;
    struct number number = { .pid = task->tgid, .descriptor = reader->descriptor };
    struct vacancy vacancy = { .closed = bpf_ktime_get_ns(), .tid = reader->tid };

    if (reader->pid != number.pid || number.descriptor == NO_DESCRIPTOR || !frees(number.descriptor))
        return 0;
    if (record->history.writer.known || tp->bytes_sent || !sk->sk_max_ack_backlog || sk->__sk_common.skc_flags & (1 << SOCK_DONE))
        return 0;
    vacancy.reading.cookie = bpf_get_socket_cookie(sk);
    vacancy.reading.at = record->history.read.at;
    vacancy.reading.started = task->group_leader->start_boottime;
    vacancy.reading.descriptor = number.descriptor;
    vacancy.reading.ends = *ends;
    bpf_map_update_elem(&vacancies, &number, &vacancy, BPF_ANY);
    return 0;
}

/* The one thing that is done for each connection, in whatever tier. */
static __noinline int note_closing(void *ctx, struct sock *sk, struct tcp_sock *tp, __u32 new_state)
{
    __u32 place;
    __u64 number;
    struct note *note = begin_note(&place, &number);

    if (note) {
        struct closing *closing = &note->closing;
        __u32 ticks = bpf_jiffies64();

        ends_of(&note->ends, sk, tp);
        closing->at = bpf_ktime_get_ns();
        closing->cookie = bpf_get_socket_cookie(sk);
        closing->received = tp->bytes_received;
        closing->sent = tp->bytes_sent - tp->bytes_retrans + (tp->write_seq - tp->snd_nxt);
        closing->ticks_since_received = ticks - tp->inet_conn.icsk_ack.lrcvtime;
        closing->ticks_since_sent = ticks - tp->lsndtime;
        closing->backlog = sk->sk_max_ack_backlog;
        closing->state = new_state;
        closing->receive_next = tp->rcv_nxt;
        task_now(&closing->task, true);
        closing->half = sk->sk_shutdown != 3 || closing->task.call == CALL_SHUTDOWN;
        end_note(note, place, number);
    }

    if (tier >= TIER_CALLS) {
        struct record *record = bpf_sk_storage_get(&records, sk, 0, 0);
        __u32 tid = bpf_get_current_pid_tgid();
        if (note && record && record->history.reader.known && record->history.reader.tid != tid && has_user_stack()) {
            struct ends ends;

            ends_of(&ends, sk, tp);
            note_stray(ctx, &ends);
            note_vacancy(sk, tp, record, &ends);
        }
        forget_reading(tid, bpf_get_socket_cookie(sk));
    }
    return 0;
}

/* Whether a change of state may be the end that a task makes. A connection changes its state ten times: this comes first. */
static __always_inline bool may_close(__u32 old, __u32 new)
{
    switch (new) {
    case TCP_FIN_WAIT1:
    case TCP_LAST_ACK:
        return true;
    case TCP_CLOSE:
        return old == TCP_ESTABLISHED || old == TCP_CLOSE_WAIT;
    }
    return false;
}

SEC("tp_btf/inet_sock_set_state")
int state_changed(__u64 *ctx)
{
    struct sock *sk = (void *)ctx[0];
    __u32 old = ctx[1], new = ctx[2];
    struct tcp_sock *tp;
    bool owned;

    if (tier < TIER_CALLS && !may_close(old, new))
        return 0;
    if (sk->sk_protocol != IPPROTO_TCP || old == TCP_LISTEN || new == TCP_LISTEN || is_elsewhere(sk))
        return 0;
    owned = sk->sk_lock.owned != 0;
    if (tier >= TIER_CALLS) {
        struct record *record = bpf_sk_storage_get(&records, sk, 0, 0);
        if (record) {
            __u32 tid = owned ? (__u32)bpf_get_current_pid_tgid() : 0;
            add_deed(&record->history, DEED_STATE, tid, NO_DESCRIPTOR, old << 8 | new, bpf_ktime_get_ns());
        }
        if (new == TCP_SYN_SENT && owned)
            forget_descriptor();
    }
    /* An error set means that the other end ended it, and that a task only happened to hold the lock. */
    if (!owned || sk->sk_err || !may_close(old, new))
        return 0;
    tp = bpf_skc_to_tcp_sock(sk);
    return tp ? note_closing(ctx, sk, tp, new) : 0;
}

static __always_inline bool is_told(__u32 reason)
{
    for (int i = 0; i < DROP_REASONS; i++) {
        if (drop_reasons[i] && reason == drop_reasons[i])
            return true;
    }
    return false;
}

SEC("tp_btf/kfree_skb")
int dropped(__u64 *ctx)
{
    struct sk_buff *skb = (void *)ctx[0];
    struct event *event;
    struct sock *sk;
    __u32 netns;
    bool is_outgoing = false;

    if (!is_told(ctx[2]))
        return 0;
    if (skb->protocol != bpf_htons(0x0800) && skb->protocol != bpf_htons(0x86dd))
        return 0;
    sk = skb->sk;
    netns = netns_of(skb);
    if (!netns && sk)
        netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
    if (only_netns && netns != only_netns)
        return 0;
    event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
    if (!event) {
        count(LOST_EVENT);
        return 0;
    }
    if (!segment_of(&event->segment, skb) || !is_asked_for(event->segment.source_port, event->segment.destination_port)) {
        bpf_ringbuf_discard(event, 0);
        return 0;
    }
    event->size = sizeof(*event);
    event->kind = DROPPED;
    event->parts = PART_REASON | PART_ENDS | PART_SEGMENT;
    event->at = bpf_ktime_get_ns();
    event->cookie = 0;
    event->inode = 0;
    event->reason = ctx[2];
    event->state = 0;
    if (sk) {
        /* Found early for a packet that came in, or the sender of one that goes out. */
        is_outgoing = BPF_CORE_READ(sk, __sk_common.skc_num) == event->segment.source_port;
        event->cookie = BPF_CORE_READ(sk, __sk_common.skc_cookie.counter);
        event->state = BPF_CORE_READ(sk, __sk_common.skc_state);
    }
    ends_from(&event->ends, &event->segment, is_outgoing);
    event->ends.netns = netns;
    task_now(&event->task, false);
    take_frames(ctx, event);
    bpf_ringbuf_submit(event, 0);
    return 0;
}

/* Signals that ask or force a process to end: what its sockets then do, it did not choose. */
SEC("tp_btf/signal_generate")
int signalled(__u64 *ctx)
{
    struct task_struct *task = (void *)ctx[2];
    __u32 signal = ctx[0];
    struct event *event;

    if (signal != SIGTERM && signal != SIGINT && signal != SIGQUIT && signal != SIGKILL)
        return 0;
    /* It is ignored, or waits already. */
    if (ctx[4] != 0)
        return 0;
    event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
    if (!event) {
        count(LOST_EVENT);
        return 0;
    }
    event->size = sizeof(*event);
    event->kind = SIGNALLED;
    event->parts = PART_REASON;
    event->at = bpf_ktime_get_ns();
    event->cookie = task->group_leader->start_boottime;
    event->inode = task->tgid;
    event->reason = signal;
    /* From the kernel: a terminal, or want of memory. The task that runs has no part in it. */
    event->state = ctx[1] == SEND_SIG_PRIV;
    task_now(&event->task, true);
    event->kernel_frames = 0;
    event->reserved = 0;
    bpf_ringbuf_submit(event, 0);
    return 0;
}

/* Only of calls whose first argument is one. */
static __always_inline __u16 descriptor_of(const struct pt_regs *regs)
{
    switch (CALL(regs)) {
    case CALL_READ:
    case CALL_WRITE:
    case CALL_READV:
    case CALL_WRITEV:
    case CALL_SENDTO:
    case CALL_RECVFROM:
    case CALL_SENDMSG:
    case CALL_RECVMSG:
    case CALL_SENDMMSG:
    case CALL_RECVMMSG:
    case CALL_SENDFILE:
        return ARGUMENT_0(regs) < NO_DESCRIPTOR ? ARGUMENT_0(regs) : NO_DESCRIPTOR;
    }
    return NO_DESCRIPTOR;
}

/* Adds to the first bytes of a run; false when the program's memory cannot be read. */
static __always_inline bool append(struct run *run, __u64 from, __u64 length)
{
    __u64 have = run->length;

    if (have >= PAYLOAD)
        return true;
    if (length > PAYLOAD - have)
        length = PAYLOAD - have;
    /* The compiler knows what the verifier does not: these bounds must be seen in the registers that are used. */
    asm volatile("" : "+r"(length), "+r"(have));
    if (length > PAYLOAD || have >= PAYLOAD)
        return true;
    if (bpf_probe_read_user(run->bytes + have, length, (void *)from))
        return false;
    run->length = have + length;
    return true;
}

#define VECTORS 4
static __noinline int append_buffers(struct run *run, const struct pt_regs *regs, __u64 length)
{
    __u64 buffer = ARGUMENT_1(regs);

    switch (CALL(regs)) {
    case CALL_READ:
    case CALL_WRITE:
    case CALL_SENDTO:
    case CALL_RECVFROM:
        return append(run, buffer, length);
    case CALL_SENDMSG:
    case CALL_RECVMSG:
        /* struct user_msghdr: msg_iov at 16 */
        if (bpf_probe_read_user(&buffer, sizeof(buffer), (void *)buffer + 16))
            return false;
        break;
    case CALL_READV:
    case CALL_WRITEV:
        break;
    default:
        return false;
    }
    for (int i = 0; i < VECTORS && length && run->length < PAYLOAD; i++) {
        struct iovec vector;
        if (bpf_probe_read_user(&vector, sizeof(vector), (void *)(buffer + i * sizeof(vector))))
            return false;
        if (vector.iov_len > length)
            vector.iov_len = length;
        if (!append(run, vector.iov_base, vector.iov_len))
            return false;
        length -= vector.iov_len;
    }
    return true;
}

/*
 * SWAPPED: a thread answers on another connection than it read from, under the same descriptor. RETAKEN: it reads from another, after
 * somebody else closed the first. So rare that storms are no matter.
 */
static __noinline int emit_swap(void *ctx, struct sock *sk, struct record *record, struct reading *reading, enum kind kind)
{
    __u64 size = sizeof(struct event) + sizeof(struct history) + STACK + sizeof(struct other) + STRAY_STACK;
    struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
    struct event *event;
    struct other *other;
    struct stray *stray;

    if (!tp)
        return 0;
    event = bpf_ringbuf_reserve(&events, sizeof(struct event) + sizeof(struct history) + STACK + sizeof(struct other) + STRAY_STACK, 0);
    if (!event) {
        count(LOST_EVENT);
        return 0;
    }
    other = (void *)event + SIZE_OF(1, 1);
    event->size = size;
    event->kind = kind;
    event->parts = PART_ENDS | PART_TCP | PART_HISTORY | PART_USER | PART_STACK | PART_OTHER;
    event->at = bpf_ktime_get_ns();
    event->cookie = bpf_get_socket_cookie(sk);
    event->inode = inode_of(tp);
    event->reason = 0;
    event->state = sk->__sk_common.skc_state;
    ends_of(&event->ends, sk, tp);
    tcp_of(&event->tcp, tp);
    task_now(&event->task, true);
    take_frames(ctx, event);
    user_now(ctx, &event->user);
    bpf_probe_read_kernel(event + 1, sizeof(struct history), &record->history);
    if (with_stacks)
        event->user.length = COPY_STACK((void *)event + SIZE_OF(1, 0), STACK, event->user.sp);

    other->cookie = reading->cookie;
    other->read_at = reading->at;
    other->ends = reading->ends;
    other->descriptor = reading->descriptor;
    other->answered = reading->answered;
    other->reserved = 0;
    other->closing_known = 0;
    other->user.ip = 0;
    other->user.length = 0;
    other->user.frames = 0;
    if (recall(&other->closing, &reading->ends) && other->closing.cookie == other->cookie) {
        other->closing_known = 1;
        stray = bpf_map_lookup_elem(&strays, &reading->ends);
        if (stray) {
            bpf_probe_read_kernel(&other->user, sizeof(struct user), &stray->user);
            bpf_probe_read_kernel(other + 1, STRAY_STACK, stray->stack);
        }
    }
    bpf_ringbuf_submit(event, 0);
    return 0;
}

/* At the first read of a connection: whether its number was taken from under a request that the same thread had read. */
static __noinline int ask_for_vacancy(void *ctx, struct sock *sk, struct record *record)
{
    struct task_struct *task = bpf_get_current_task_btf();
    struct user_of *reader = &record->history.reader;
    struct number number = { .pid = reader->pid, .descriptor = reader->descriptor };
    struct vacancy *vacancy = bpf_map_lookup_elem(&vacancies, &number);

    if (!vacancy)
        return 0;
    if (vacancy->tid == reader->tid && vacancy->reading.started == task->group_leader->start_boottime &&
        bpf_ktime_get_ns() - vacancy->closed < VACANT_FOR)
        emit_swap(ctx, sk, record, &vacancy->reading, RETAKEN);
    bpf_map_delete_elem(&vacancies, &number);
    return 0;
}

/* After a read or a write that moved bytes, by the task that called. */
static __noinline int moved(void *ctx, struct sock *sk, int length, enum direction direction)
{
    struct task_struct *task = bpf_get_current_task_btf();
    struct pt_regs *regs = (void *)bpf_task_pt_regs(task);
    bool is_program = !(task->flags & (PF_KTHREAD | PF_IO_WORKER));
    struct reading *reading;
    struct history *history;
    struct record *record;
    struct user_of *user;
    struct run *run;
    bool first;
    __u64 now, cookie, started = task->start_boottime;
    __u32 tid = task->pid;
    __u16 descriptor;

    if (length <= 0 || !is_tcp(sk) || is_elsewhere(sk))
        return 0;
    record = bpf_sk_storage_get(&records, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
    if (!record)
        return 0;
    now = bpf_ktime_get_ns();
    cookie = bpf_get_socket_cookie(sk);
    descriptor = is_program ? descriptor_of(regs) : NO_DESCRIPTOR;
    history = &record->history;
    if (!history->first)
        history->first = now;
    user = direction == READING ? &history->reader : &history->writer;
    run = direction == READING ? &history->read : &history->written;
    first = !user->known;
    user->pid = task->tgid;
    user->tid = tid;
    user->descriptor = descriptor;
    user->known = 1;
    add_deed(history, direction == READING ? DEED_READ : DEED_WROTE, tid, descriptor, length, now);
    if (record->direction != direction) {
        record->direction = direction;
        run->total = 0;
        run->length = 0;
    }
    if (tier >= TIER_PAYLOAD && run->length < PAYLOAD) {
        /* Two calls, so that each has a place the verifier knows. */
        int copied = !is_program ? 0 :
                 direction == READING ? append_buffers(&history->read, regs, length) :
                            append_buffers(&history->written, regs, length);
        if (!copied)
            history->unreadable++;
    }
    run->total += length;
    run->at = now;

    reading = bpf_map_lookup_elem(&readings, &tid);
    if (direction == WRITING) {
        if (reading && reading->cookie && reading->started == started) {
            if (reading->cookie == cookie) {
                reading->answered = 1;
            } else if (descriptor != NO_DESCRIPTOR && reading->descriptor == descriptor) {
                emit_swap(ctx, sk, record, reading, SWAPPED);
                reading->cookie = 0;
            }
        }
        /* Another thread answers: the reader has handed it over. */
        if (history->reader.known && history->reader.tid != tid)
            forget_reading(history->reader.tid, cookie);
        return 0;
    }
    if (first && descriptor != NO_DESCRIPTOR)
        ask_for_vacancy(ctx, sk, record);
    if (reading && reading->cookie == cookie) {
        reading->at = now;
        reading->descriptor = descriptor;
        reading->answered = 0;
    } else {
        struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
        struct reading fresh = { .cookie = cookie, .at = now, .started = started, .descriptor = descriptor };
        if (!tp)
            return 0;
        ends_of(&fresh.ends, sk, tp);
        bpf_map_update_elem(&readings, &tid, &fresh, BPF_ANY);
    }
    return 0;
}

/* Since Linux 6.3. */
SEC("tp_btf/sock_send_length")
int sent_length(__u64 *ctx)
{
    return moved(ctx, (void *)ctx[0], ctx[1], WRITING);
}

SEC("tp_btf/sock_recv_length")
int received_length(__u64 *ctx)
{
    return ctx[2] & MSG_PEEK ? 0 : moved(ctx, (void *)ctx[0], ctx[1], READING);
}

SEC("tp_btf/tcp_probe")
int arrived(__u64 *ctx)
{
    struct sock *sk = (void *)ctx[0];
    struct sk_buff *skb = (void *)ctx[1];
    struct record *record;
    __u8 offset = 0;
    __u32 header;

    if (is_elsewhere(sk))
        return 0;
    bpf_probe_read_kernel(&offset, 1, skb->data + 12);
    header = (offset >> 4) * 4;
    if (skb->len <= header)
        return 0;
    record = bpf_sk_storage_get(&records, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
    if (!record)
        return 0;
    if (!record->history.first)
        record->history.first = bpf_ktime_get_ns();
    add_deed(&record->history, DEED_ARRIVED, 0, NO_DESCRIPTOR, skb->len - header, bpf_ktime_get_ns());
    return 0;
}

/* For kernels before 6.10: their tracepoint is silent without a full socket (a closed port, TIME_WAIT). */
static __always_inline int reset_without_socket(__u64 *ctx)
{
    struct sock *sk = (void *)ctx[0];
    struct sk_buff *skb = (void *)ctx[1];

    if (sk) {
        __u32 state = sk->__sk_common.skc_state;
        if ((state != TCP_TIME_WAIT && state != TCP_NEW_SYN_RECV) || is_elsewhere(sk))
            return 0;
    } else if (!skb || (only_netns && netns_of(skb) != only_netns)) {
        return 0;
    }
    return emit(ctx, sk, skb, RESET_SENT);
}

SEC("fentry/tcp_v4_send_reset")
int reset_without_socket_v4(__u64 *ctx)
{
    return reset_without_socket(ctx);
}

SEC("fentry/tcp_v6_send_reset")
int reset_without_socket_v6(__u64 *ctx)
{
    return reset_without_socket(ctx);
}

/* For kernels before 6.3, which have no sock_send_length. */
SEC("fexit/tcp_sendmsg")
int sent(__u64 *ctx)
{
    return moved(ctx, (void *)ctx[0], ctx[3], WRITING);
}

/* int tcp_recvmsg(sk, msg, len, flags, addr_len), as it was since 5.19. */
SEC("fexit/tcp_recvmsg")
int received(__u64 *ctx)
{
    return ctx[3] & MSG_PEEK ? 0 : moved(ctx, (void *)ctx[0], ctx[5], READING);
}
