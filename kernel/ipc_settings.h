#pragma once

#include <array>

namespace godwit {

/// The sysctls that each ipc namespace has for itself, below /proc/sys (proc_sys_kernel(5), mq_overview(7)).
/// A kernel may lack some.
inline constexpr std::array<const char*, 14> kIpcSettings = {
    "kernel/msgmax",
    "kernel/msgmnb",
    "kernel/msgmni",
    "kernel/auto_msgmni",
    "kernel/sem",
    "kernel/shmall",
    "kernel/shmmax",
    "kernel/shmmni",
    "kernel/shm_rmid_forced",
    "fs/mqueue/queues_max",
    "fs/mqueue/msg_max",
    "fs/mqueue/msgsize_max",
    "fs/mqueue/msg_default",
    "fs/mqueue/msgsize_default",
};

}  // namespace godwit
