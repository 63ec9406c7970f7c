//! Confinement denies an intruder every useful system call.
#![allow(unsafe_code)]
#![cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]

use std::collections::BTreeMap;
use std::process::{Command, Output};
use std::sync::mpsc;

use libc::{c_long, syscall};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};
use udco_sys::confinement::{Unforeseen, enter};

/// Marks a child process of this test, and names its part.
const PART: &str = "UDCO_SYS_CONFINED";

/// A system call whose arguments do no harm, whoever makes it.
struct Attempt {
    name: &'static str,
    make: fn() -> c_long,
}

/// `syscall` as the function of an attempt.
macro_rules! attempt {
    ($name:literal, $number:ident $(, $argument:expr)*) => {
        Attempt {
            name: $name,
            // SAFETY: null pointers and numbers that name nothing: at worst the kernel refuses.
            make: || unsafe { syscall(libc::$number $(, $argument)*) },
        }
    };
}

/// Unconfined, they succeed for root, or fail with an error other than `EPERM`.
const ATTEMPTS: [Attempt; 24] = [
    attempt!(
        "openat",
        SYS_openat,
        libc::AT_FDCWD,
        c"/dev/null".as_ptr(),
        libc::O_RDONLY
    ),
    attempt!("socket", SYS_socket, libc::AF_INET, libc::SOCK_DGRAM, 0),
    attempt!(
        "socketpair",
        SYS_socketpair,
        libc::AF_UNIX,
        libc::SOCK_STREAM,
        0,
        0
    ),
    attempt!("connect", SYS_connect, -1, 0, 0),
    attempt!("bind", SYS_bind, -1, 0, 0),
    attempt!("execve", SYS_execve, 0, 0, 0),
    attempt!("execveat", SYS_execveat, -1, 0, 0, 0, 0),
    attempt!("ptrace", SYS_ptrace, libc::PTRACE_PEEKDATA, 0, 0, 0),
    attempt!("kill", SYS_kill, libc::getppid(), 0),
    attempt!("mount", SYS_mount, 0, 0, 0, 0, 0),
    attempt!("bpf", SYS_bpf, -1, 0, 0),
    attempt!("unshare", SYS_unshare, 0),
    attempt!("setns", SYS_setns, -1, 0),
    attempt!(
        "process_vm_readv",
        SYS_process_vm_readv,
        libc::getppid(),
        0,
        0,
        0,
        0,
        0
    ),
    attempt!("init_module", SYS_init_module, 0, 0, 0),
    attempt!("perf_event_open", SYS_perf_event_open, 0, 0, -1, -1, 0),
    attempt!("io_uring_setup", SYS_io_uring_setup, 0, 0),
    attempt!("memfd_create", SYS_memfd_create, c"".as_ptr(), 0),
    attempt!("unlinkat", SYS_unlinkat, -1, c"".as_ptr(), 0),
    attempt!("keyctl", SYS_keyctl, 0, 0),
    attempt!("setuid", SYS_setuid, -1),
    attempt!("prctl", SYS_prctl, libc::PR_SET_DUMPABLE, 1, 0, 0, 0),
    attempt!(
        "code",
        SYS_mmap,
        0,
        4096,
        libc::PROT_EXEC,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        -1,
        0
    ),
    attempt!(
        "a process",
        SYS_clone,
        libc::CLONE_NEWNS | libc::CLONE_FS,
        0,
        0,
        0,
        0
    ),
];

/// Whether a call was refused: none of these fails that way by itself.
fn is_refused(attempt: &Attempt) -> bool {
    (attempt.make)() < 0 && std::io::Error::last_os_error().raw_os_error() == Some(libc::EPERM)
}

fn names(attempts: impl Iterator<Item = bool>) -> Vec<&'static str> {
    ATTEMPTS
        .iter()
        .zip(attempts)
        .filter(|(_, is_named)| *is_named)
        .map(|(attempt, _)| attempt.name)
        .collect()
}

/// Runs this test again in a process of its own, where it finds the variable.
fn again(test: &str, part: &str) -> Output {
    let program = std::env::current_exe().unwrap();
    Command::new(program)
        .args(["--exact", test, "--nocapture", "--include-ignored"])
        .env(PART, part)
        .output()
        .unwrap()
}

fn text(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    format!("{out}{err}")
}

/// open, socket, execve, ptrace and the like.
#[test]
fn an_intruders_calls_are_refused_in_every_thread() {
    if std::env::var_os(PART).is_none() {
        let output = again("an_intruders_calls_are_refused_in_every_thread", "all");
        let text = text(&output);
        assert!(output.status.success(), "{text}");
        if let Some(line) = text.lines().find(|line| line.contains("SKIPPED: ")) {
            println!("{line}");
        }
        return;
    }
    // For an ordinary user, or in a container, some are refused anyway.
    let before = names(ATTEMPTS.iter().map(is_refused));
    assert!(
        ATTEMPTS.len() - before.len() >= 10,
        "refused without confinement: {before:?}"
    );
    let (go, wait) = mpsc::channel::<()>();
    let earlier = std::thread::spawn(move || {
        let _ = wait.recv();
        names(ATTEMPTS.iter().map(|attempt| !is_refused(attempt)))
    });
    let lacks = enter(Unforeseen::Fails);
    if lacks.iter().any(|lack| lack.to_string().contains("filter")) {
        println!("SKIPPED: {lacks:?}");
        return;
    }
    drop(go);
    let later = std::thread::spawn(|| names(ATTEMPTS.iter().map(|attempt| !is_refused(attempt))));
    let own = names(ATTEMPTS.iter().map(|attempt| !is_refused(attempt)));
    for possible in [own, later.join().unwrap(), earlier.join().unwrap()] {
        assert_eq!(possible, [""; 0], "these are possible");
    }
}

/// Where the kernel or the container offers neither, the other layers hold, and one line reports each missing one.
#[test]
fn a_layer_that_is_not_to_be_had_is_a_line() {
    if std::env::var_os(PART).is_none() {
        let output = again("a_layer_that_is_not_to_be_had_is_a_line", "lacking");
        assert!(output.status.success(), "{}", text(&output));
        return;
    }
    let refused = [
        libc::SYS_seccomp,
        libc::SYS_landlock_create_ruleset,
        libc::SYS_landlock_restrict_self,
    ];
    let filter = SeccompFilter::new(
        refused
            .map(|number| (number, Vec::new()))
            .into_iter()
            .collect::<BTreeMap<_, _>>(),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::ENOSYS as u32),
        std::env::consts::ARCH.try_into().unwrap(),
    );
    let program: BpfProgram = filter.unwrap().try_into().unwrap();
    apply_filter(&program).unwrap();
    let lacks: Vec<String> = enter(Unforeseen::Fails)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(lacks.len(), 2, "{lacks:?}");
    assert!(lacks[0].contains("without Landlock: "), "{lacks:?}");
    assert!(
        lacks[1].contains("without a system call filter: "),
        "{lacks:?}"
    );
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    assert!(status.contains("CapEff:\t0000000000000000"), "{status}");
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
}

/// The calls of the packet path, on an invalid descriptor: the kernel returns at once.
const PACKET_PATH: [Attempt; 7] = [
    attempt!("recvmmsg", SYS_recvmmsg, -1, 0, 0, 0, 0),
    attempt!("sendmmsg", SYS_sendmmsg, -1, 0, 0, 0),
    attempt!("readv", SYS_readv, -1, 0, 0),
    attempt!("writev", SYS_writev, -1, 0, 0),
    attempt!("recvfrom", SYS_recvfrom, -1, 0, 0, 0, 0, 0),
    attempt!("sendto", SYS_sendto, -1, 0, 0, 0, 0, 0),
    attempt!("sched_yield", SYS_sched_yield),
];

/// Nanoseconds per call: the minimum of several series.
fn nanoseconds(attempt: &Attempt) -> f64 {
    const CALLS: u32 = 100_000;
    let series = (0..20).map(|_| {
        let began = std::time::Instant::now();
        for _ in 0..CALLS {
            std::hint::black_box((attempt.make)());
        }
        began.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS)
    });
    series.fold(f64::INFINITY, f64::min)
}

/// For docs/faults.md, H5: it prints what the filter adds to each of them.
#[test]
#[ignore = "a measurement"]
fn what_the_filter_adds_to_a_call() {
    if std::env::var_os(PART).is_none() {
        print!("{}", text(&again("what_the_filter_adds_to_a_call", "cost")));
        return;
    }
    let before = PACKET_PATH.each_ref().map(nanoseconds);
    let _ = enter(Unforeseen::Fails);
    for (attempt, before) in PACKET_PATH.iter().zip(before) {
        let added = nanoseconds(attempt) - before;
        println!("{}: {before:.0} ns, and {added:.0} more", attempt.name);
    }
}
