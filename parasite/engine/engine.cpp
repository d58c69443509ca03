// The engine: interprets a script (parasite/script.h) inside whatever process it has been put into.
//
// Freestanding and position-independent; the build embeds it in the executable as bytes (embed.S). No libc,
// no allocator, no global data; general registers only: the vector registers of a dumped thread are never
// touched.
#include "parasite/script.h"

namespace {

using namespace godwit::script;

constexpr long kSysRtSigreturn = 15;
constexpr long kSysRead = 0;
constexpr long kSysOpen = 2;
constexpr long kSysClose = 3;
constexpr long kSysNanosleep = 35;
constexpr long kSysGetpid = 39;
constexpr long kSysFcntl = 72;
constexpr long kSysGettid = 186;
constexpr long kSysFutex = 202;
constexpr long kSysExitGroup = 231;
constexpr long kSysTgkill = 234;
constexpr long kSysDup3 = 292;
constexpr long kSysClone3 = 435;
constexpr long kFutexWait = 0;
constexpr long kFutexWake = 1;
constexpr long kSetDescriptorFlags = 2;  // F_SETFD
constexpr long kCloseOnExec = 02000000;  // O_CLOEXEC
constexpr int kErrorProtocol = 71;       // EPROTO
constexpr int kAll = 0x7fffffff;

inline long system_call(long number, long a, long b, long c, long d = 0, long e = 0, long f = 0) {
  long result;
  register long r10 asm("r10") = d;
  register long r8 asm("r8") = e;
  register long r9 asm("r9") = f;
  asm volatile("syscall"
               : "=a"(result)
               : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
               : "rcx", "r11", "memory");
  return result;
}

inline uint32_t* word_at(uint64_t address) {
  return reinterpret_cast<uint32_t*>(address);
}

void bump(uint64_t address, uint32_t by) {
  __atomic_add_fetch(word_at(address), by, __ATOMIC_SEQ_CST);
  system_call(kSysFutex, static_cast<long>(address), kFutexWake, kAll);
}

void wait_for(uint64_t address, uint32_t at_least) {
  for (;;) {
    const uint32_t now = __atomic_load_n(word_at(address), __ATOMIC_SEQ_CST);
    if (now >= at_least) {
      return;
    }
    system_call(kSysFutex, static_cast<long>(address), kFutexWait, static_cast<long>(now));
  }
}

long place(long descriptor, long number, bool close_on_exec) {
  if (descriptor == number) {
    return system_call(kSysFcntl, number, kSetDescriptorFlags, close_on_exec ? 1 : 0);
  }
  const long result = system_call(kSysDup3, descriptor, number, close_on_exec ? kCloseOnExec : 0);
  if (result >= 0) {
    system_call(kSysClose, descriptor, 0, 0);
  }
  return result;
}

void copy(uint64_t to, uint64_t from, uint64_t size) {
  auto* out = reinterpret_cast<unsigned char*>(to);
  const auto* in = reinterpret_cast<const unsigned char*>(from);
  for (uint64_t i = 0; i < size; ++i) {
    out[i] = in[i];
  }
}

void end(Script* script) {
  if (script->state != SCRIPT_FAILED) {
    script->state = SCRIPT_DONE;
  }
}

void nap() {
  const long millisecond[2] = {0, 1000000};
  system_call(kSysNanosleep, reinterpret_cast<long>(millisecond), 0, 0);
}

/// The last number of proc_pid_syscall(5), which is the program counter.
uint64_t last_number(const char* text, long size) {
  uint64_t number = 0;
  for (long i = 0; i < size && text[i] != '\n'; ++i) {
    const char c = text[i];
    const bool digit = c >= '0' && c <= '9';
    if (digit || (c >= 'a' && c <= 'f')) {
      number = number << 4 | static_cast<uint64_t>(digit ? c - '0' : c - 'a' + 10);
    } else {
      number = 0;  // a blank, or the x of 0x
    }
  }
  return number;
}

/// 1: the thread is in [start, end), or runs and can't be looked at. 0: it isn't. Negative: nobody knows.
long look_at_thread(const char* path, uint64_t start, uint64_t end) {
  char text[256];
  const long file = system_call(kSysOpen, reinterpret_cast<long>(path), kCloseOnExec, 0);
  if (file < 0) {
    return file;
  }
  const long size = system_call(kSysRead, file, reinterpret_cast<long>(text), sizeof text);
  system_call(kSysClose, file, 0, 0);
  if (size <= 0) {
    return -kErrorProtocol;
  }
  const uint64_t counter = last_number(text, size);
  return text[0] == 'r' || (counter >= start && counter < end) ? 1 : 0;
}

/// Is no thread of the list in [start, end) any more? Waits some time for that.
bool alone(const char* paths, uint64_t start, uint64_t end) {
  int naps = 50;
  for (const char* path = paths; *path != 0; path += THREAD_PATH) {
    for (long there = 1; there != 0;) {
      there = look_at_thread(path, start, end);
      if (there < 0 || (there > 0 && --naps < 0)) {
        return false;
      }
      if (there > 0) {
        nap();
      }
    }
  }
  return true;
}

/// A signal that is ignored unless a tracer looks: with one, the thread stops here and its tracer gives it
/// back its registers. Without one (it was killed) the thread resumes where it was by a signal frame.
[[noreturn]] void finish(const uint64_t* args) {
  system_call(kSysTgkill, system_call(kSysGetpid, 0, 0, 0), system_call(kSysGettid, 0, 0, 0),
              static_cast<long>(args[0]));
  const bool beside = args[2] != 0 && !alone(reinterpret_cast<const char*>(args[2]), args[4], args[5]);
  const uint64_t frame = args[beside ? 3 : 1];
  asm volatile(
      "mov %0, %%rsp\n\t"
      "mov %1, %%eax\n\t"
      "syscall\n\t"
      "ud2"
      :
      : "r"(frame), "i"(kSysRtSigreturn)
      : "memory");
  __builtin_unreachable();
}

}  // namespace

extern "C" __attribute__((visibility("hidden"))) void godwit_engine_run(godwit::script::Script* script);

/// The child gets a stack of its own (clone_args) and its script; r12 carries the script across.
static long clone_into(long clone_arguments, long size, long child_script) {
  long result;
  register long child asm("r12") = child_script;
  asm volatile(
      "syscall\n\t"
      "test %%rax, %%rax\n\t"
      "jnz 1f\n\t"
      "xor %%ebp, %%ebp\n\t"
      "mov %%r12, %%rdi\n\t"
      "call godwit_engine_run\n\t"
      "ud2\n\t"
      "1:"
      : "=a"(result)
      : "a"(kSysClone3), "D"(clone_arguments), "S"(size), "r"(child)
      : "rcx", "r11", "memory");
  return result;
}

static long run_operation(Script* script, const Op* op, const uint64_t* args) {
  switch (op->kind) {
    case OP_SYSCALL:
      return system_call(op->number, static_cast<long>(args[0]), static_cast<long>(args[1]),
                         static_cast<long>(args[2]), static_cast<long>(args[3]), static_cast<long>(args[4]),
                         static_cast<long>(args[5]));
    case OP_PLACE:
      return place(static_cast<long>(args[0]), static_cast<long>(args[1]), args[2] != 0);
    case OP_CLONE:
      return clone_into(static_cast<long>(args[0]), static_cast<long>(args[1]), static_cast<long>(args[2]));
    case OP_WAIT:
      wait_for(args[0], static_cast<uint32_t>(args[1]));
      return 0;
    case OP_POST:
      bump(args[0], static_cast<uint32_t>(args[1]));
      if (args[2] != 0) {
        bump(args[2], 1);
      }
      return 0;
    case OP_STORE:
      *word_at(args[0]) = static_cast<uint32_t>(args[1]);
      return 0;
    case OP_COPY:
      copy(args[0], args[1], args[2]);
      return 0;
    case OP_LOAD:
      return static_cast<int32_t>(*word_at(args[0]));
    case OP_FINISH:
      end(script);
      finish(args);
    case OP_PARK:
      end(script);
      bump(args[0], static_cast<uint32_t>(args[1]));
      bump(args[2], 1);
      for (uint32_t never = 0;;) {
        system_call(kSysFutex, reinterpret_cast<long>(&never), kFutexWait, 0);
      }
  }
  return -kErrorProtocol;
}

static bool acceptable(const Op* op, long result) {
  if ((op->flags & OP_EXPECT_VALUE) != 0) {
    return result == op->expect;
  }
  // The kernel's errors are -4095 to -1; other negative numbers are addresses.
  if (result >= 0 || result < -4095 || (op->flags & OP_MAY_FAIL) != 0) {
    return true;
  }
  return (op->flags & OP_MAY_FAIL_WITH) != 0 && result == -op->expect;
}

extern "C" void godwit_engine_run(Script* script) {
  script->state = SCRIPT_RUNNING;
  Op* ops = reinterpret_cast<Op*>(script->ops);
  for (uint32_t i = 0; i < script->count; ++i) {
    script->current = i;
    Op* op = &ops[i];
    uint64_t args[6];
    for (int a = 0; a < 6; ++a) {
      args[a] = (op->slot_arguments >> a & 1) != 0 ? static_cast<uint64_t>(script->slots[op->args[a] % SLOTS])
                                                   : op->args[a];
    }
    const long result = run_operation(script, op, args);
    op->result = result;
    if (!acceptable(op, result)) {
      script->error = result < 0 ? static_cast<int32_t>(-result) : kErrorProtocol;
      script->state = SCRIPT_FAILED;
      if (script->events != 0) {
        bump(script->events, 1);
      }
      // Inside another process there is nowhere to return to: a dumped thread goes back to where it was, a
      // half-made process ends, also when nobody is left who could end it.
      const Op* last = &ops[script->count - 1];
      if (last->kind == OP_FINISH) {
        run_operation(script, last, last->args);
      } else if (last->kind == OP_PARK) {
        system_call(kSysExitGroup, 1, 0, 0);
      }
      return;
    }
    if (op->result_slot != NO_SLOT) {
      script->slots[op->result_slot % SLOTS] = result;
    }
  }
  end(script);
}

/// The first bytes of the blob, a function that takes the Script in rdi. An injected thread is put here
/// with a stack aligned to 16 below which it never returns; the coordinator of a restore calls it.
extern "C" __attribute__((naked, used, section(".text.entry"))) void godwit_engine_entry() {
  asm volatile("jmp godwit_engine_run");
}
