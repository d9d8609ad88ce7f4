/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The kernel's types, as far as they are read here. Where a member lies is found by its name when the programs are loaded (CO-RE),
 * so that order and what is left out do not matter.
 */
#ifndef KERNEL_H
#define KERNEL_H

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef signed char __s8;
typedef short __s16;
typedef int __s32;
typedef long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;
typedef _Bool bool;
enum { false, true };
#define NULL ((void *)0)

/* include/uapi/linux/bpf.h */
enum bpf_map_type {
    BPF_MAP_TYPE_ARRAY = 2,
    BPF_MAP_TYPE_PERCPU_ARRAY = 6,
    BPF_MAP_TYPE_LRU_HASH = 9,
    BPF_MAP_TYPE_SK_STORAGE = 24,
    BPF_MAP_TYPE_RINGBUF = 27,
};
enum { BPF_ANY = 0, BPF_F_NO_PREALLOC = 1, BPF_SK_STORAGE_GET_F_CREATE = 1, BPF_F_USER_STACK = 256, BPF_RB_AVAIL_DATA = 0 };

/* include/net/tcp_states.h */
enum {
    TCP_ESTABLISHED = 1,
    TCP_SYN_SENT,
    TCP_SYN_RECV,
    TCP_FIN_WAIT1,
    TCP_FIN_WAIT2,
    TCP_TIME_WAIT,
    TCP_CLOSE,
    TCP_CLOSE_WAIT,
    TCP_LAST_ACK,
    TCP_LISTEN,
    TCP_CLOSING,
    TCP_NEW_SYN_RECV,
};
enum { AF_INET = 2, AF_INET6 = 10, IPPROTO_TCP = 6, MSG_PEEK = 2 };
enum { PF_EXITING = 0x4, PF_IO_WORKER = 0x10, PF_KTHREAD = 0x200000 };
/* enum sock_flags, include/net/sock.h: SOCK_DONE is set by tcp_fin() alone. */
enum { SOCK_DEAD = 0, SOCK_DONE = 1, SOCK_LINGER = 4 };

enum { EPIPE = 32, ECONNRESET = 104 };
enum { SIGINT = 2, SIGQUIT = 3, SIGKILL = 9, SIGTERM = 15 };
/* In place of a pointer to what the sender says: include/linux/sched/signal.h */
enum { SEND_SIG_PRIV = 1 };

/* On the wire and in calls: fixed. */
struct iphdr {
    __u8 version_ihl, tos;
    __be16 tot_len, id, frag_off;
    __u8 ttl, protocol;
    __u16 check;
    __be32 saddr, daddr;
};
struct ipv6hdr {
    __u8 version_class, class_flow[3];
    __be16 payload_len;
    __u8 nexthdr, hop_limit;
    __be32 saddr[4], daddr[4];
};
struct tcphdr {
    __be16 source, dest;
    __be32 seq, ack_seq;
    __u8 offset, flags;
    __be16 window;
    __u16 check, urg_ptr;
};
struct iovec {
    __u64 iov_base, iov_len;
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

enum sk_rst_reason { SK_RST_REASON_NOT_SPECIFIED };
enum skb_drop_reason { SKB_DROP_REASON_NOT_SPECIFIED = 2 };

typedef struct {
    int counter;
} atomic_t;
typedef struct {
    __s64 counter;
} atomic64_t;

struct ns_common {
    unsigned int inum;
};
struct net {
    struct ns_common ns;
};
typedef struct {
    struct net *net;
} possible_net_t;
struct net_device {
    possible_net_t nd_net;
};

typedef struct {
    unsigned int val;
} kuid_t;
struct cred {
    kuid_t euid;
};
struct signal_struct {
    int group_exit_code;
};
struct task_struct {
    unsigned int flags;
    int pid, tgid;
    __u64 start_boottime;
    struct task_struct *group_leader;
    const struct cred *cred;
    struct signal_struct *signal;
};

struct inode {
    unsigned long i_ino;
};
struct socket {
    short type;
};
struct socket_alloc {
    struct socket socket;
    struct inode vfs_inode;
};

struct in6_addr {
    union {
        __be32 u6_addr32[4];
    } in6_u;
};
struct sock_common {
    __be32 skc_daddr, skc_rcv_saddr;
    __be16 skc_dport;
    __u16 skc_num;
    unsigned short skc_family;
    volatile unsigned char skc_state;
    possible_net_t skc_net;
    struct in6_addr skc_v6_daddr, skc_v6_rcv_saddr;
    atomic64_t skc_cookie;
    unsigned long skc_flags;
};
typedef struct {
    int owned;
} socket_lock_t;
struct sock {
    struct sock_common __sk_common;
    socket_lock_t sk_lock;
    struct socket *sk_socket;
    int sk_err;
    __u8 sk_shutdown;
    __u16 sk_protocol;
    unsigned long sk_lingertime;
    __u32 sk_ack_backlog, sk_max_ack_backlog;
};
struct inet_sock {
    struct sock sk;
    __be16 inet_sport;
};
struct inet_connection_sock {
    struct inet_sock icsk_inet;
    __u32 icsk_user_timeout;
    __u8 icsk_retransmits, icsk_probes_out;
    struct {
        __u32 lrcvtime;
        __u16 rcv_mss;
    } icsk_ack;
};
struct tcp_sock {
    struct inet_connection_sock inet_conn;
    __u32 rcv_nxt, copied_seq, rcv_wnd, write_seq, snd_nxt, snd_una, lsndtime, srtt_us;
    __u64 bytes_received, bytes_acked, bytes_sent, bytes_retrans;
};
struct sk_buff {
    struct sock *sk;
    struct net_device *dev;
    unsigned int len;
    __be16 protocol;
    __u16 transport_header, network_header;
    unsigned char *head, *data;
};

/*
 * What differs between processors: how a program's registers are saved, and the numbers of its calls.
 * One section for each; the object of each lies in a folder of its own.
 */
#if defined(__TARGET_ARCH_x86)
/* A write that no later one overtakes, on any processor. This one keeps the order of writes by itself. */
#define WRITE_FIRST(to, value) (*(volatile __u64 *)(to) = (value))
struct pt_regs {
    unsigned long bp, dx, si, di, orig_ax, ip, sp;
};
#define CALL(regs) ((__s64)(regs)->orig_ax)
#define ARGUMENT_0(regs) ((regs)->di)
#define ARGUMENT_1(regs) ((regs)->si)
#define ARGUMENT_2(regs) ((regs)->dx)
#define INSTRUCTION_POINTER(regs) ((regs)->ip)
#define STACK_POINTER(regs) ((regs)->sp)
#define FRAME_POINTER(regs) ((regs)->bp)
enum call {
    CALL_READ = 0,
    CALL_WRITE = 1,
    CALL_CLOSE = 3,
    CALL_READV = 19,
    CALL_WRITEV = 20,
    CALL_DUP2 = 33,
    CALL_SENDFILE = 40,
    CALL_CONNECT = 42,
    CALL_SENDTO = 44,
    CALL_RECVFROM = 45,
    CALL_SENDMSG = 46,
    CALL_RECVMSG = 47,
    CALL_SHUTDOWN = 48,
    CALL_DUP3 = 292,
    CALL_RECVMMSG = 299,
    CALL_SENDMMSG = 307,
};
#else
#error "no section for this processor"
#endif

#pragma clang attribute pop
#endif
