use bypeer_diagnose::testimony::{Act, ResetPath};

use crate::event::Task;

/// A call to the kernel, of those that are made around connections.
struct Call {
    name: &'static str,
    /// Its number on x86-64 and on arm64 (`asm/unistd_64.h`, `asm-generic/unistd.h`); `NONE` where it is missing.
    numbers: [i64; 2],
    shape: Shape,
    /// What it does to a socket, if it is made for that.
    act: Act,
}

/// What of the first three arguments is shown.
#[derive(Clone, Copy)]
enum Shape {
    /// Nothing that means something to a reader.
    Hidden,
    /// A descriptor.
    One,
    /// Two descriptors.
    Two,
    /// Two descriptors that are the ends of a range.
    Range,
    /// A descriptor, then something in memory.
    Descriptor,
    /// A descriptor, something in memory, its length.
    Buffer,
    /// A descriptor and what to shut.
    Shut,
    /// A status.
    Status,
}

const NONE: i64 = i64::MIN;

const fn call(name: &'static str, numbers: [i64; 2], shape: Shape, act: Act) -> Call {
    Call {
        name,
        numbers,
        shape,
        act,
    }
}

static CALLS: [Call; 47] = [
    call("close", [3, 57], Shape::One, Act::Close),
    call("close_range", [436, 436], Shape::Range, Act::Close),
    call("dup2", [33, NONE], Shape::Two, Act::Close),
    call("dup3", [292, 24], Shape::Two, Act::Close),
    call("shutdown", [48, 210], Shape::Shut, Act::Shutdown),
    call("connect", [42, 203], Shape::Descriptor, Act::Disconnect),
    call("execve", [59, 221], Shape::Hidden, Act::Exec),
    call("execveat", [322, 281], Shape::Hidden, Act::Exec),
    call("exit", [60, 93], Shape::Status, Act::Owned),
    call("exit_group", [231, 94], Shape::Status, Act::Owned),
    call("read", [0, 63], Shape::Buffer, Act::Owned),
    call("write", [1, 64], Shape::Buffer, Act::Owned),
    call("readv", [19, 65], Shape::Descriptor, Act::Owned),
    call("writev", [20, 66], Shape::Descriptor, Act::Owned),
    call("sendfile", [40, 71], Shape::Two, Act::Owned),
    call("splice", [275, 76], Shape::Descriptor, Act::Owned),
    call("sendto", [44, 206], Shape::Buffer, Act::Owned),
    call("recvfrom", [45, 207], Shape::Buffer, Act::Owned),
    call("sendmsg", [46, 211], Shape::Descriptor, Act::Owned),
    call("recvmsg", [47, 212], Shape::Descriptor, Act::Owned),
    call("sendmmsg", [307, 269], Shape::Descriptor, Act::Owned),
    call("recvmmsg", [299, 243], Shape::Descriptor, Act::Owned),
    call("accept", [43, 202], Shape::Descriptor, Act::Owned),
    call("accept4", [288, 242], Shape::Descriptor, Act::Owned),
    call("setsockopt", [54, 208], Shape::Descriptor, Act::Owned),
    call("getsockopt", [55, 209], Shape::Descriptor, Act::Owned),
    call("ioctl", [16, 29], Shape::Descriptor, Act::Owned),
    call("poll", [7, NONE], Shape::Hidden, Act::Owned),
    call("ppoll", [271, 73], Shape::Hidden, Act::Owned),
    call("select", [23, NONE], Shape::Hidden, Act::Owned),
    call("pselect6", [270, 72], Shape::Hidden, Act::Owned),
    call("epoll_wait", [232, NONE], Shape::Descriptor, Act::Owned),
    call("epoll_pwait", [281, 22], Shape::Descriptor, Act::Owned),
    call("epoll_pwait2", [441, 441], Shape::Descriptor, Act::Owned),
    call("epoll_ctl", [233, 21], Shape::Descriptor, Act::Owned),
    call("io_uring_enter", [426, 426], Shape::One, Act::Owned),
    call("io_uring_setup", [425, 425], Shape::Hidden, Act::Owned),
    call("futex", [202, 98], Shape::Hidden, Act::Owned),
    call("nanosleep", [35, 101], Shape::Hidden, Act::Owned),
    call("clock_nanosleep", [230, 115], Shape::Hidden, Act::Owned),
    call("sched_yield", [24, 124], Shape::Hidden, Act::Owned),
    call("kill", [62, 129], Shape::Hidden, Act::Owned),
    call("tgkill", [234, 131], Shape::Hidden, Act::Owned),
    call("wait4", [61, 260], Shape::Hidden, Act::Owned),
    call("munmap", [11, 215], Shape::Hidden, Act::Owned),
    call("socket", [41, 198], Shape::Hidden, Act::Owned),
    call("rt_sigreturn", [15, 139], Shape::Hidden, Act::Owned),
];

/// Which of [`Call::numbers`] this machine counts by.
const MACHINE: usize = if cfg!(target_arch = "aarch64") { 1 } else { 0 };

/// What a task was doing to the socket that an event is about, and its call in the kernel's words: `close(7)`, `shutdown(7, SHUT_WR)`,
/// `sendto(7, …, 614400)`.
///
/// `path` is the kernel's way to the reset, where that is known: it tells what io_uring was asked to do, that another destroyed the socket,
/// and a `connect` that dissolves from one that only waited.
///
/// The call's number is taken for one of the machine's own kind: those of 32-bit programs differ.
pub fn act(task: &Task, path: Option<ResetPath>) -> (Act, Option<String>) {
    act_of(task, path, MACHINE)
}

fn act_of(task: &Task, path: Option<ResetPath>, machine: usize) -> (Act, Option<String>) {
    if !task.acting {
        return (Act::Unknown, None);
    }
    let known = CALLS.iter().find(|call| call.numbers[machine] == task.call);
    let text = match known {
        Some(call) => Some(call.text(task.arguments)),
        None => (task.call >= 0).then(|| format!("syscall {}", task.call)),
    };
    let is_exit = known.is_some_and(|call| matches!(call.shape, Shape::Status));
    let status = (task.arguments[0] & 0xff) as u8;
    if task.exiting {
        // As `wait` gives it: the signal, and above it the status.
        let signal = (task.exit_code & 0x7f) as u8;
        let act = match (signal, is_exit) {
            (1.., _) => Act::Killed(signal),
            (0, true) => Act::Exit(status),
            (0, false) => Act::Exit((task.exit_code >> 8 & 0xff) as u8),
        };
        // A signal that ends a program finds it in any call, or in none.
        return (act, text.filter(|_| is_exit && signal == 0));
    }
    if is_exit {
        return (Act::Exit(status), text);
    }
    let act = known.map_or(Act::Owned, |call| call.act);
    let act = match (path, act) {
        (Some(ResetPath::Killed), _) => Act::Destroy,
        (Some(ResetPath::Disconnected), _) => Act::Disconnect,
        // It may have waited for an answer only.
        (Some(_), Act::Disconnect) => Act::Owned,
        // io_uring closes for its program; a descriptor in a message that nobody takes closes too.
        (Some(ResetPath::CloseUnread | ResetPath::LingerZero | ResetPath::ListenerClosed), Act::Owned) => Act::Close,
        (_, act) => act,
    };
    (act, text)
}

impl Call {
    fn text(&self, arguments: [u64; 3]) -> String {
        // The kernel takes the lower half of what the register holds.
        let [first, second, _] = arguments.map(|argument| argument as u32 as i32);
        let inner = match self.shape {
            Shape::Hidden => "…".to_owned(),
            Shape::One => first.to_string(),
            Shape::Two => format!("{first}, {second}"),
            Shape::Range if second == -1 => format!("{first}, ~0"),
            Shape::Range => format!("{first}, {second}"),
            Shape::Descriptor => format!("{first}, …"),
            Shape::Buffer => format!("{first}, …, {}", arguments[2]),
            Shape::Shut => match second {
                0 => format!("{first}, SHUT_RD"),
                1 => format!("{first}, SHUT_WR"),
                2 => format!("{first}, SHUT_RDWR"),
                other => format!("{first}, {other}"),
            },
            Shape::Status => first.to_string(),
        };
        format!("{}({inner})", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(call: i64, arguments: [u64; 3]) -> Task {
        Task {
            acting: true,
            call,
            arguments,
            ..Task::default()
        }
    }

    /// On x86-64.
    fn check(call: i64, arguments: [u64; 3], path: Option<ResetPath>, act: Act, text: &str) {
        let found = act_of(&task(call, arguments), path, 0);
        assert_eq!(found, (act, Some(text.to_owned())));
    }

    #[test]
    fn calls_that_end_connections() {
        check(3, [7, 0, 0], Some(ResetPath::CloseUnread), Act::Close, "close(7)");
        check(3, [0xdead_0000_0007, 0, 0], None, Act::Close, "close(7)");
        check(33, [8, 7, 0], None, Act::Close, "dup2(8, 7)");
        check(436, [3, u64::from(u32::MAX), 0], None, Act::Close, "close_range(3, ~0)");
        check(48, [7, 1, 0], None, Act::Shutdown, "shutdown(7, SHUT_WR)");
        check(231, [1, 0, 0], None, Act::Exit(1), "exit_group(1)");
        check(59, [0, 0, 0], Some(ResetPath::CloseUnread), Act::Exec, "execve(…)");
        check(
            42,
            [7, 0, 0],
            Some(ResetPath::Disconnected),
            Act::Disconnect,
            "connect(7, …)",
        );
        check(42, [7, 0, 0], Some(ResetPath::Answer), Act::Owned, "connect(7, …)");
        check(46, [3, 0, 0], Some(ResetPath::Killed), Act::Destroy, "sendmsg(3, …)");
        check(46, [3, 0, 0], Some(ResetPath::Answer), Act::Owned, "sendmsg(3, …)");
        check(44, [7, 0, 614_400], None, Act::Owned, "sendto(7, …, 614400)");
        check(
            426,
            [5, 0, 0],
            Some(ResetPath::CloseUnread),
            Act::Close,
            "io_uring_enter(5)",
        );
        check(426, [5, 0, 0], None, Act::Owned, "io_uring_enter(5)");
        check(9999, [5, 0, 0], None, Act::Owned, "syscall 9999");
    }

    #[test]
    fn ends_of_processes() {
        let mut task = task(231, [3, 0, 0]);
        task.exiting = true;
        task.exit_code = 3 << 8;
        assert_eq!(act_of(&task, None, 0), (Act::Exit(3), Some("exit_group(3)".to_owned())));
        // Killed while it waited, with a core dump or without.
        task.call = 232;
        task.exit_code = 9;
        assert_eq!(act_of(&task, None, 0), (Act::Killed(9), None));
        task.exit_code = 0x80 | 11;
        assert_eq!(act_of(&task, None, 0), (Act::Killed(11), None));
        task.exit_code = 2 << 8;
        assert_eq!(act_of(&task, None, 0), (Act::Exit(2), None));
    }

    #[test]
    fn who_only_held_the_processor_did_nothing() {
        let mut task = task(3, [7, 0, 0]);
        task.acting = false;
        assert_eq!(act_of(&task, Some(ResetPath::Answer), 0), (Act::Unknown, None));
        // A kernel thread that lets go of the last descriptor.
        task.acting = true;
        task.call = -1;
        assert_eq!(act_of(&task, Some(ResetPath::CloseUnread), 0), (Act::Close, None));
        assert_eq!(act_of(&task, None, 0), (Act::Owned, None));
    }

    #[test]
    fn arm64_counts_otherwise() {
        assert_eq!(
            act_of(&task(57, [7, 0, 0]), None, 1),
            (Act::Close, Some("close(7)".to_owned()))
        );
        assert_eq!(
            act_of(&task(210, [7, 2, 0]), None, 1),
            (Act::Shutdown, Some("shutdown(7, SHUT_RDWR)".to_owned()))
        );
        assert_eq!(act_of(&task(-1, [7, 0, 0]), None, 1), (Act::Owned, None));
    }

    #[test]
    fn no_number_is_there_twice() {
        for machine in [0, 1] {
            let mut numbers: Vec<i64> = CALLS.iter().map(|call| call.numbers[machine]).collect();
            numbers.retain(|number| *number != NONE);
            let count = numbers.len();
            numbers.sort_unstable();
            numbers.dedup();
            assert_eq!(numbers.len(), count);
        }
    }
}
