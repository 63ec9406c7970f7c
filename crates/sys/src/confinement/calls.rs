//! The system calls of a confined engine, each with its reason. All others are refused.
//!
//! The table covers all calls that occur in the test suite, where a missing one kills the engine (see
//! [`super::Unforeseen`]).

/// An allowed system call.
pub(super) struct Call {
    pub(super) number: libc::c_long,
    /// Allowed if all conditions of at least one of these lists hold; always allowed if there is no list.
    pub(super) ways: Vec<Vec<Condition>>,
}

/// The bits in `mask` of argument number `argument`, counted from 0, have this value. Only 32 bits are compared: the
/// kernel uses no more of any argument in the table.
pub(super) struct Condition {
    pub(super) argument: u8,
    pub(super) mask: u32,
    pub(super) value: u32,
}

/// Refused on purpose, each with an error that its caller can handle.
pub(super) const REFUSED: [(libc::c_long, i32, &str); 2] = [
    (
        libc::SYS_clone3,
        libc::ENOSYS,
        "its flags are in memory, where no filter can see them: the C library falls back to `clone`",
    ),
    (
        libc::SYS_openat,
        libc::EPERM,
        "the log tries to open its output again; the C library tries to read the memory policy",
    ),
];

/// The whole table, for the process with this id.
pub(super) fn allowed(process: u32) -> Vec<Call> {
    let mut calls = packets();
    calls.extend(descriptors());
    calls.extend(waiting());
    calls.extend(memory());
    calls.extend(threads(process));
    calls
}

fn packets() -> Vec<Call> {
    vec![
        any(libc::SYS_recvmmsg, "datagrams of a transport socket"),
        any(libc::SYS_sendmmsg, "the same"),
        any(
            libc::SYS_recvmsg,
            "messages of clients with descriptors, and of streams",
        ),
        any(libc::SYS_sendmsg, "answers and control packets to clients"),
        any(
            libc::SYS_recvfrom,
            "streams, and the kernel's route notifications",
        ),
        any(
            libc::SYS_sendto,
            "streams, route and path requests, log lines to the journal",
        ),
        any(libc::SYS_read, "packets of a TUN queue, wakers, signals"),
        any(
            libc::SYS_preadv2,
            "the same without waiting, whatever the file's flags are",
        ),
        any(
            libc::SYS_write,
            "packets to a TUN queue, wakers, log lines, the state for `udco show`",
        ),
        any(
            libc::SYS_readv,
            "packets of a TUN queue, before Linux 6.4 (`RWF_NOWAIT`)",
        ),
        any(libc::SYS_writev, "a packet to a TUN queue from pieces"),
        any(
            libc::SYS_pwritev2,
            "the same, and log lines, without waiting",
        ),
        any(
            libc::SYS_getsockopt,
            "the kind and the state of a socket that a client has passed",
        ),
        any(libc::SYS_getsockname, "its local address"),
        any(libc::SYS_getpeername, "the other end of a stream"),
        any(libc::SYS_shutdown, "closes the stream of a deleted peer"),
        one_of(
            libc::SYS_setsockopt,
            [
                vec![is(1, libc::SOL_SOCKET), is(2, libc::SO_RCVBUF)],
                vec![is(1, libc::SOL_SOCKET), is(2, libc::SO_SNDBUF)],
                vec![is(1, libc::SOL_SOCKET), is(2, libc::SO_RCVBUFFORCE)],
                vec![is(1, libc::SOL_SOCKET), is(2, libc::SO_SNDBUFFORCE)],
                vec![is(1, libc::SOL_SOCKET), is(2, libc::SO_LINGER)],
                vec![is(1, libc::IPPROTO_IP), is(2, libc::IP_PKTINFO)],
                vec![is(1, libc::IPPROTO_IPV6), is(2, libc::IPV6_RECVPKTINFO)],
                vec![is(1, libc::IPPROTO_UDP), is(2, libc::UDP_GRO)],
                vec![is(1, libc::IPPROTO_TCP), is(2, libc::TCP_NODELAY)],
                vec![is(1, libc::IPPROTO_TCP), is(2, libc::TCP_NOTSENT_LOWAT)],
            ],
            "buffers, local addresses, merged datagrams, delays of streams, and a close that does not wait",
        ),
        one_of(
            libc::SYS_ioctl,
            [
                vec![request(libc::TUNGETIFF as u32)],
                vec![request(libc::TUNSETVNETHDRSZ as u32)],
                vec![request(libc::TUNSETOFFLOAD as u32)],
                vec![request(libc::TUNSETPERSIST as u32)],
                vec![request(libc::TUNSETCARRIER as u32)],
                vec![request(libc::FIONBIO as u32)],
                vec![request(libc::TCGETS as u32)],
                vec![request(libc::TIOCGWINSZ as u32)],
            ],
            "TUN queues, and whether the log goes to a terminal",
        ),
    ]
}

fn descriptors() -> Vec<Call> {
    let of_standard_error = || [vec![is(1, libc::STDERR_FILENO)]];
    vec![
        one_of(
            libc::SYS_dup3,
            of_standard_error(),
            "an engine started by `udco run` closes the standard error that it was started with",
        ),
        #[cfg(target_arch = "x86_64")]
        one_of(libc::SYS_dup2, of_standard_error(), "as dup3"),
        any(libc::SYS_accept4, "clients of the engine's socket file"),
        any(libc::SYS_close, "every descriptor is closed at last"),
        any(
            libc::SYS_fstat,
            "the kind of a descriptor that a client has passed",
        ),
        one_of(
            libc::SYS_fcntl,
            [
                vec![is(1, libc::F_GETFD)],
                vec![is(1, libc::F_SETFD)],
                vec![is(1, libc::F_GETFL)],
                vec![is(1, libc::F_SETFL)],
                vec![is(1, libc::F_DUPFD_CLOEXEC)],
                vec![is(1, libc::F_GET_SEALS)],
            ],
            "flags of descriptors, copies, and whether a file is in memory; no signals by F_SETOWN, no leases",
        ),
    ]
}

fn waiting() -> Vec<Call> {
    let mut calls = vec![
        any(
            libc::SYS_epoll_create1,
            "each worker and each client's connection waits",
        ),
        any(libc::SYS_epoll_ctl, "the same"),
        any(libc::SYS_epoll_pwait, "the same"),
        any(libc::SYS_epoll_pwait2, "the same"),
        any(libc::SYS_eventfd2, "wakers of workers"),
        any(
            libc::SYS_ppoll,
            "the engine's socket file, and room for a log line",
        ),
        any(libc::SYS_futex, "locks and channels between threads"),
        any(libc::SYS_nanosleep, "pauses"),
        any(libc::SYS_clock_nanosleep, "pauses"),
        any(
            libc::SYS_clock_gettime,
            "a worker's processor time; the clock, on machines where it is a system call",
        ),
        any(
            libc::SYS_restart_syscall,
            "resumes a pause after a signal such as SIGSTOP",
        ),
    ];
    // Older architectures also have these calls, and the C library uses them.
    #[cfg(target_arch = "x86_64")]
    calls.extend([
        any(libc::SYS_epoll_wait, "as epoll_pwait"),
        any(libc::SYS_poll, "as ppoll"),
    ]);
    calls.extend([
        any(libc::SYS_rt_sigreturn, "returns from a signal handler"),
        any(libc::SYS_rt_sigprocmask, "a thread starts or aborts"),
        any(
            libc::SYS_rt_sigaction,
            "the standard library's handler of stack overflows, and abort",
        ),
        any(
            libc::SYS_sigaltstack,
            "the stack of that handler, for each thread",
        ),
    ]);
    calls
}

fn memory() -> Vec<Call> {
    let (exec, anonymous) = (libc::PROT_EXEC as u32, libc::MAP_ANONYMOUS as u32);
    vec![
        any(libc::SYS_brk, "memory"),
        any(libc::SYS_munmap, "memory"),
        any(libc::SYS_mremap, "memory that grows"),
        any(
            libc::SYS_madvise,
            "frees memory, and the stacks of threads that have ended",
        ),
        one_of(
            libc::SYS_mmap,
            [vec![masked(2, exec, 0), masked(3, anonymous, anonymous)]],
            "memory and stacks: no files, no code",
        ),
        one_of(
            libc::SYS_mprotect,
            [vec![masked(2, exec, 0)]],
            "guard pages, memory as it is needed: no code",
        ),
        any(libc::SYS_getrandom, "the seeds of hash maps"),
    ]
}

fn threads(process: u32) -> Vec<Call> {
    let namespaces = libc::CLONE_NEWNS
        | libc::CLONE_NEWCGROUP
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUSER
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET;
    let thread = libc::CLONE_THREAD as u32;
    let own = Condition {
        argument: 0,
        mask: u32::MAX,
        value: process,
    };
    vec![
        one_of(
            libc::SYS_clone,
            [vec![masked(0, thread | namespaces as u32, thread)]],
            "a thread for each client: no processes",
        ),
        any(libc::SYS_set_robust_list, "each thread has one"),
        any(
            libc::SYS_rseq,
            "each thread registers its restartable sequences",
        ),
        any(libc::SYS_exit, "a thread ends"),
        any(libc::SYS_exit_group, "the engine ends"),
        any(libc::SYS_gettid, "a thread's number"),
        any(
            libc::SYS_getpid,
            "the engine's number in `udco show`, and abort",
        ),
        any(
            libc::SYS_getuid,
            "a client of the engine's own user may connect",
        ),
        any(libc::SYS_geteuid, "the same"),
        any(libc::SYS_sched_yield, "a busy worker lets others run"),
        any(
            libc::SYS_sched_getaffinity,
            "a thread's stack size, per-processor memory",
        ),
        one_of(
            libc::SYS_sched_setaffinity,
            [vec![is(0, 0)]],
            "--cpu, for the calling thread",
        ),
        one_of(
            libc::SYS_prlimit64,
            [vec![is(0, 0), is(2, 0)]],
            "a thread's stack size: read, not set",
        ),
        one_of(
            libc::SYS_prctl,
            [
                vec![is(0, libc::PR_SET_NAME)],
                vec![is(0, libc::PR_SET_TIMERSLACK)],
                vec![is(0, libc::PR_SET_VMA)],
            ],
            "names of threads and memory, exact pauses",
        ),
        one_of(
            libc::SYS_tgkill,
            [vec![own, is(2, libc::SIGABRT)]],
            "the engine aborts after a bug",
        ),
    ]
}

/// With any arguments.
fn any(number: libc::c_long, _reason: &str) -> Call {
    Call {
        number,
        ways: Vec::new(),
    }
}

/// With one of these arguments.
fn one_of<const N: usize>(number: libc::c_long, ways: [Vec<Condition>; N], _reason: &str) -> Call {
    Call {
        number,
        ways: ways.into(),
    }
}

/// The argument has this value.
fn is(argument: u8, value: libc::c_int) -> Condition {
    masked(argument, u32::MAX, value.cast_unsigned())
}

/// These bits of the argument have this value.
fn masked(argument: u8, mask: u32, value: u32) -> Condition {
    Condition {
        argument,
        mask,
        value,
    }
}

/// An ioctl's number.
fn request(number: u32) -> Condition {
    masked(1, u32::MAX, number)
}
