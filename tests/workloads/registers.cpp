// Threads that hold a pattern in every register and look at nothing else: general and x87, SSE, AVX and
// AVX-512 registers, flags, MXCSR and the x87 control word. Each checks its registers in an endless loop of
// instructions, without a system call, so that it is dumped in the midst of it.
#include <cpuid.h>
#include <pthread.h>
#include <sched.h>
#include <xmmintrin.h>

#include <atomic>

#include "tests/workloads/workload.h"

namespace {

std::atomic<bool> go_on{true};
std::atomic<int> running{0};

// One round of a loop: load, spin, compare. Returns in `bad` which register differs (0: none).

void* general_registers(void*) {
  ++running;
  while (go_on) {
    uint64_t bad = 0;
    asm volatile(
        "push %%rbp\n"
        "mov $0x1111111111111111, %%rbx\n"
        "mov $0x2222222222222222, %%rcx\n"
        "mov $0x3333333333333333, %%rdx\n"
        "mov $0x4444444444444444, %%rsi\n"
        "mov $0x5555555555555555, %%rdi\n"
        "mov $0x6666666666666666, %%rbp\n"
        "mov $0x7777777777777777, %%r8\n"
        "mov $0x8888888888888888, %%r9\n"
        "mov $0x9999999999999999, %%r10\n"
        "mov $0xaaaaaaaaaaaaaaaa, %%r11\n"
        "mov $0xbbbbbbbbbbbbbbbb, %%r12\n"
        "mov $0xcccccccccccccccc, %%r13\n"
        "mov $0xdddddddddddddddd, %%r14\n"
        "mov $3000000, %%r15\n"
        // Carry set, and kept by lea and jrcxz-free counting below.
        "1:\n"
        "dec %%r15\n"
        "jnz 1b\n"
        "xor %%eax, %%eax\n"
        "mov $0x1111111111111111, %%r15\n cmp %%r15, %%rbx\n mov $1, %%r15d\n cmovne %%r15, %%rax\n"
        "mov $0x2222222222222222, %%r15\n cmp %%r15, %%rcx\n mov $2, %%r15d\n cmovne %%r15, %%rax\n"
        "mov $0x3333333333333333, %%r15\n cmp %%r15, %%rdx\n mov $3, %%r15d\n cmovne %%r15, %%rax\n"
        "mov $0x4444444444444444, %%r15\n cmp %%r15, %%rsi\n mov $4, %%r15d\n cmovne %%r15, %%rax\n"
        "mov $0x5555555555555555, %%r15\n cmp %%r15, %%rdi\n mov $5, %%r15d\n cmovne %%r15, %%rax\n"
        "mov $0x6666666666666666, %%r15\n cmp %%r15, %%rbp\n mov $6, %%r15d\n cmovne %%r15, %%rax\n"
        "mov $0x7777777777777777, %%r15\n cmp %%r15, %%r8\n mov $7, %%r15d\n cmovne %%r15, %%rax\n"
        "mov $0x8888888888888888, %%r15\n cmp %%r15, %%r9\n mov $8, %%r15d\n cmovne %%r15, %%rax\n"
        "mov $0x9999999999999999, %%r15\n cmp %%r15, %%r10\n mov $9, %%r15d\n cmovne %%r15, %%rax\n"
        "mov $0xaaaaaaaaaaaaaaaa, %%r15\n cmp %%r15, %%r11\n mov $10, %%r15d\n cmovne %%r15, %%rax\n"
        "mov $0xbbbbbbbbbbbbbbbb, %%r15\n cmp %%r15, %%r12\n mov $11, %%r15d\n cmovne %%r15, %%rax\n"
        "mov $0xcccccccccccccccc, %%r15\n cmp %%r15, %%r13\n mov $12, %%r15d\n cmovne %%r15, %%rax\n"
        "mov $0xdddddddddddddddd, %%r15\n cmp %%r15, %%r14\n mov $13, %%r15d\n cmovne %%r15, %%rax\n"
        "pop %%rbp\n"
        : "=&a"(bad)
        :
        : "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "cc",
          "memory");
    if (bad != 0) {
      workload::fail("general register number %llu changed", static_cast<unsigned long long>(bad));
      break;
    }
  }
  return nullptr;
}

/// Direction flag and carry, which a loop that only moves and counts by lea leaves alone.
void* flags_register(void*) {
  ++running;
  while (go_on) {
    uint64_t flags = 0;
    asm volatile(
        "mov $2000000, %%rcx\n"
        "std\n"
        "stc\n"
        "1: lea -1(%%rcx), %%rcx\n"
        "jrcxz 2f\n"
        "jmp 1b\n"
        "2: pushfq\n"
        "pop %0\n"
        "cld\n"
        : "=&r"(flags)
        :
        : "rcx", "cc", "memory");
    if ((flags & 0x401) != 0x401) {
      workload::fail("flags are 0x%llx", static_cast<unsigned long long>(flags));
      break;
    }
  }
  return nullptr;
}

/// Eight different values on the x87 stack, another control word, another MXCSR.
void* x87_registers(void*) {
  ++running;
  while (go_on) {
    uint16_t control = 0x0f7f;  // round to zero, extended precision
    uint16_t control_after = 0;
    uint32_t mxcsr = 0x7f80;  // round to zero
    uint32_t mxcsr_after = 0;
    uint16_t old_control = 0;
    uint32_t old_mxcsr = 0;
    int32_t values[8] = {11, 22, 33, 44, 55, 66, 77, 88};
    int32_t after[8] = {};
    asm volatile(
        "fnstcw %[oldcw]\n stmxcsr %[oldmx]\n"
        "fninit\n"
        "fldcw %[cw]\n ldmxcsr %[mx]\n"
        "fildl 0(%[v])\n fildl 4(%[v])\n fildl 8(%[v])\n fildl 12(%[v])\n"
        "fildl 16(%[v])\n fildl 20(%[v])\n fildl 24(%[v])\n fildl 28(%[v])\n"
        "mov $3000000, %%rcx\n 1: dec %%rcx\n jnz 1b\n"
        "fistpl 28(%[a])\n fistpl 24(%[a])\n fistpl 20(%[a])\n fistpl 16(%[a])\n"
        "fistpl 12(%[a])\n fistpl 8(%[a])\n fistpl 4(%[a])\n fistpl 0(%[a])\n"
        "fnstcw %[cwa]\n stmxcsr %[mxa]\n"
        "fninit\n fldcw %[oldcw]\n ldmxcsr %[oldmx]\n"
        :
        [oldcw] "+m"(old_control), [oldmx] "+m"(old_mxcsr), [cwa] "=m"(control_after), [mxa] "=m"(mxcsr_after)
        : [cw] "m"(control), [mx] "m"(mxcsr), [v] "r"(values), [a] "r"(after)
        : "rcx", "cc", "memory", "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)");
    if (memcmp(values, after, sizeof values) != 0 || control != control_after || mxcsr != mxcsr_after) {
      workload::fail("x87: values %d %d %d %d %d %d %d %d, control word 0x%x, mxcsr 0x%x", after[0], after[1],
                     after[2], after[3], after[4], after[5], after[6], after[7], control_after, mxcsr_after);
      break;
    }
  }
  return nullptr;
}

void fill(unsigned char* bytes, size_t size, unsigned seed) {
  for (size_t i = 0; i < size; ++i) {
    bytes[i] = static_cast<unsigned char>(i * 7 + i / 64 * 13 + seed);
  }
}

#define FOR_16(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)
#define FOR_16_TO_31(X) \
  X(16) X(17) X(18) X(19) X(20) X(21) X(22) X(23) X(24) X(25) X(26) X(27) X(28) X(29) X(30) X(31)
#define SPIN "mov $3000000, %%rcx\n 1: dec %%rcx\n jnz 1b\n"
#define XMM_CLOBBERS                                                                                         \
  "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", \
      "xmm13", "xmm14", "xmm15"

void* sse_registers(void*) {
  alignas(64) static unsigned char wanted[16 * 16];
  alignas(64) unsigned char found[16 * 16];
  fill(wanted, sizeof wanted, 1);
  ++running;
  while (go_on) {
#define LOAD(n) "movdqa " #n "*16(%[w]), %%xmm" #n "\n"
#define STORE(n) "movdqa %%xmm" #n ", " #n "*16(%[f])\n"
    asm volatile(FOR_16(LOAD) SPIN FOR_16(STORE)
                 :
                 : [w] "r"(wanted), [f] "r"(found)
                 : "rcx", "cc", "memory", XMM_CLOBBERS);
#undef LOAD
#undef STORE
    if (memcmp(wanted, found, sizeof wanted) != 0) {
      workload::fail("an SSE register changed");
      break;
    }
  }
  return nullptr;
}

[[gnu::target("avx")]] void* avx_registers(void*) {
  alignas(64) static unsigned char wanted[16 * 32];
  alignas(64) unsigned char found[16 * 32];
  fill(wanted, sizeof wanted, 2);
  ++running;
  while (go_on) {
#define LOAD(n) "vmovdqa " #n "*32(%[w]), %%ymm" #n "\n"
#define STORE(n) "vmovdqa %%ymm" #n ", " #n "*32(%[f])\n"
    asm volatile(FOR_16(LOAD) SPIN FOR_16(STORE) "vzeroupper\n"
                 :
                 : [w] "r"(wanted), [f] "r"(found)
                 : "rcx", "cc", "memory", XMM_CLOBBERS);
#undef LOAD
#undef STORE
    if (memcmp(wanted, found, sizeof wanted) != 0) {
      workload::fail("an AVX register changed");
      break;
    }
  }
  return nullptr;
}

[[gnu::target("avx512f,avx512bw")]] void* avx512_registers(void*) {
  alignas(64) static unsigned char wanted[32 * 64];
  alignas(64) unsigned char found[32 * 64];
  fill(wanted, sizeof wanted, 3);
  const uint64_t masks[7] = {0x0102030405060708, 0x1112131415161718, 0x2122232425262728, 0x3132333435363738,
                             0x4142434445464748, 0x5152535455565758, 0x6162636465666768};
  uint64_t masks_found[7] = {};
  ++running;
  while (go_on) {
#define LOAD(n) "vmovdqa64 " #n "*64(%[w]), %%zmm" #n "\n"
#define STORE(n) "vmovdqa64 %%zmm" #n ", " #n "*64(%[f])\n"
#define LOAD_MASK(n) "kmovq (" #n "-1)*8(%[m]), %%k" #n "\n"
#define STORE_MASK(n) "kmovq %%k" #n ", (" #n "-1)*8(%[mf])\n"
#define FOR_MASKS(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7)
    asm volatile(FOR_16(LOAD) FOR_16_TO_31(LOAD) FOR_MASKS(LOAD_MASK) SPIN FOR_16(STORE) FOR_16_TO_31(STORE)
                     FOR_MASKS(STORE_MASK) "vzeroupper\n"
                 :
                 : [w] "r"(wanted), [f] "r"(found), [m] "r"(masks), [mf] "r"(masks_found)
                 : "rcx", "cc", "memory", XMM_CLOBBERS, "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21",
                   "xmm22", "xmm23", "xmm24", "xmm25", "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31",
                   "k1", "k2", "k3", "k4", "k5", "k6", "k7");
#undef LOAD
#undef STORE
    if (memcmp(wanted, found, sizeof wanted) != 0 || memcmp(masks, masks_found, sizeof masks) != 0) {
      workload::fail("an AVX-512 register changed");
      break;
    }
  }
  return nullptr;
}

/// FS and GS bases: thread-local storage goes through the one, the other is ours.
void* segment_bases(void*) {
  static thread_local volatile uint64_t local = 0x5ca1ab1e;
  const uint64_t gs = 0x00007eadbeef0000;
  workload::must(syscall(SYS_arch_prctl, 0x1001 /* ARCH_SET_GS */, gs), "ARCH_SET_GS");
  uint64_t fs = 0;
  syscall(SYS_arch_prctl, 0x1003 /* ARCH_GET_FS */, &fs);
  ++running;
  while (go_on) {
    uint64_t fs_now = 0;
    uint64_t gs_now = 0;
    syscall(SYS_arch_prctl, 0x1003, &fs_now);
    syscall(SYS_arch_prctl, 0x1004 /* ARCH_GET_GS */, &gs_now);
    if (fs_now != fs || gs_now != gs || local != 0x5ca1ab1e) {
      workload::fail("fs base 0x%llx, gs base 0x%llx", static_cast<unsigned long long>(fs_now),
                     static_cast<unsigned long long>(gs_now));
      break;
    }
    workload::pause_ms(1);
  }
  return nullptr;
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  __builtin_cpu_init();
  pthread_t threads[8];
  int count = 0;
  const auto start = [&](void* (*body)(void*)) {
    workload::must(-pthread_create(&threads[count++], nullptr, body, nullptr), "pthread_create");
  };
  start(general_registers);
  start(flags_register);
  start(x87_registers);
  start(sse_registers);
  start(segment_bases);
  if (__builtin_cpu_supports("avx")) {
    start(avx_registers);
  }
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")) {
    start(avx512_registers);
  }
  while (running < count) {
    workload::pause_ms(1);
  }
  workload::say_ready();
  workload::wait_to_go_on();
  workload::pause_ms(100);
  go_on = false;
  for (int i = 0; i < count; ++i) {
    pthread_join(threads[i], nullptr);
  }
  workload::finish();
}
