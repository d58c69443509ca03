// What may differ between a task before its dump and after its restore, by name and with the reason.
// Whatever isn't here must be the same.
#pragma once

#include <string_view>

namespace godwit::e2e {

struct KnownDifference {
  std::string_view source;
  std::string_view field;
  std::string_view reason;
};

inline constexpr KnownDifference kKnownDifferences[] = {
    {"status", "VmPeak", "the largest size ever; a new address space has its own history"},
    {"status", "VmHWM", "the largest resident size ever; likewise"},
    {"status", "VmRSS", "pages that a file still holds come back when they are touched"},
    {"status", "RssFile", "likewise"},
    {"status", "RssAnon", "compared as Pss by mapping, see tolerances"},
    {"status", "RssShmem", "pages of shared memory are mapped again when they are touched"},
    {"status", "VmPTE", "page tables of pages that aren't touched yet don't exist"},
    {"status", "VmSwap", "what was swapped out comes back resident"},
    {"status", "FDSize", "room in the descriptor table; it only ever grows, by powers of two"},
    {"status", "SigQ", "counts queued signals of all processes of the user"},
    {"status", "voluntary_ctxt_switches", "a counter of this incarnation"},
    {"status", "nonvoluntary_ctxt_switches", "a counter of this incarnation"},
    {"stat", "minflt", "a counter of this incarnation"},
    {"stat", "majflt", "a counter of this incarnation"},
    {"stat", "cminflt", "a counter of this incarnation"},
    {"stat", "cmajflt", "a counter of this incarnation"},
    {"stat", "utime", "the kernel has no interface to set consumed time"},
    {"stat", "stime", "the kernel has no interface to set consumed time"},
    {"stat", "cutime", "the kernel has no interface to set consumed time"},
    {"stat", "cstime", "the kernel has no interface to set consumed time"},
    {"stat", "starttime", "the restored task is younger"},
    {"stat", "rss", "as VmRSS"},
    {"stat", "processor", "where it ran last"},
    {"stat", "delayacct_blkio_ticks", "a counter of this incarnation"},
    {"stat", "guest_time", "a counter of this incarnation"},
    {"stat", "cguest_time", "a counter of this incarnation"},
    {"stat", "wchan", "whether it sleeps at this moment"},
    {"stat", "kstkesp", "a moment's value; the registers workload checks registers"},
    {"stat", "kstkeip", "a moment's value; the registers workload checks registers"},
};

/// What of a dead task, which nobody has waited for yet, is of no use to anybody.
inline constexpr KnownDifference kKnownDifferencesOfZombies[] = {
    {"status", "SigPnd", "it takes no signal any more"},
    {"status", "ShdPnd", "likewise"},
    {"status", "SigBlk", "likewise"},
    {"status", "SigIgn", "likewise"},
    {"status", "SigCgt", "likewise"},
    {"stat", "signal", "likewise"},
    {"stat", "blocked", "likewise"},
    {"stat", "sigignore", "likewise"},
    {"stat", "sigcatch", "likewise"},
};

/// A number that may become less, and more by this: after <= before + absolute + before * relative.
struct Tolerance {
  std::string_view source;
  std::string_view field;
  double absolute;
  double relative;
  std::string_view reason;
};

inline constexpr Tolerance kTolerances[] = {
    {"memory", "Pss_Anon", 128, 0.02,
     "kB; more would be sharing lost, but for the stack's depth of the moment; less are touched pages of "
     "zeros, "
     "which come back untouched (what pages hold the workloads check)"},
};

/// Task flags (PF_*, include/linux/sched.h) in stat that tell how a task came into being or what it did
/// at this moment, not what it is. The rest must be equal.
///   0x2 VCPU 0x4 EXITING 0x40 FORKNOEXEC (a restored task never called execve itself)
///   0x100 SUPERPRIV (has used privileges) 0x200 DUMPCORE 0x400 SIGNALED 0x800 MEMALLOC 0x1000 NPROC_EXCEEDED
///   0x2000 USED_MATH 0x10000 KSWAPD 0x400000 RANDOMIZE (set by execve; inherited from the restorer)
inline constexpr unsigned long kFlagsOfTheMoment =
    0x2 | 0x4 | 0x40 | 0x100 | 0x200 | 0x400 | 0x800 | 0x1000 | 0x2000 | 0x10000 | 0x400000;

/// fdinfo lines whose value is a kernel object's number or goes on with time.
inline constexpr KnownDifference kKnownFdinfoDifferences[] = {
    {"fdinfo", "eventfd-id", "a serial number of the kernel"},
    {"fdinfo", "it_value", "time goes on; the timerfd workload checks it"},
    {"fdinfo", "ticks",
     "of a periodic timer; whoever looks makes the kernel count what has passed; likewise"},
    {"fdinfo", "mnt_id",
     "mounts of the kernel's own for pipes, sockets and the like are one; files are compared by path"},
    {"fdinfo", "ino", "compared, canonically, with the descriptor's file"},
};

/// Events of an epoll's watch that the kernel adds when a watch is made: EPOLLERR and EPOLLHUP. One that was
/// one-shot and has fired had lost them; the epoll workload checks what it reports.
inline constexpr unsigned kEventsOfEveryWatch = 0x18;

/// Mapping flags (VmFlags in smaps) that depend on how a mapping was made, not on what it is.
inline constexpr KnownDifference kKnownVmFlags[] = {
    {"VmFlags", "sd", "soft-dirty: a new mapping starts dirty"},
};

}  // namespace godwit::e2e
