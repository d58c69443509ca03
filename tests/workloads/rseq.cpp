// A thread that is nearly always in the midst of a restartable sequence. Whoever shares its one CPU changes a
// number all the time, so that the sequence must never come to its end having seen two values of it: it is
// aborted before, by the kernel, or because of the dump.
#include <pthread.h>
#include <sched.h>
#include <sys/rseq.h>

#include <atomic>
#include <cstddef>

#include "tests/workloads/workload.h"

namespace {

enum Outcome { kCommitted, kAborted, kTorn };

constexpr uint64_t kLong = 60'000'000;  // turns; some ten milliseconds
constexpr uint64_t kShort = 1'000;

uint64_t number = 0;
std::atomic<uint64_t> turns{kLong};
std::atomic<bool> stop{false};
std::atomic<uint64_t> outcomes[3];

/// Loads the number, waits for so many turns, and compares: in one restartable sequence.
Outcome sequence(volatile uint64_t* pointer, uint64_t waiting) {
  int outcome = 0;
  // The signature before the abort handler is RSEQ_SIG, which the C library registers.
  asm volatile(
      ".pushsection .data.rseq, \"aw\"\n\t"
      ".balign 32\n"
      "3:\t.long 0, 0\n\t"
      ".quad 1f, 2f - 1f, 4f\n\t"
      ".popsection\n\t"
      "leaq 3b(%%rip), %%rax\n\t"
      "movq %%rax, %[pointer]\n"
      "1:\tmovq %[number], %%rdx\n"
      "6:\tdecq %%rcx\n\t"
      "jnz 6b\n\t"
      "xorl %%eax, %%eax\n\t"
      "cmpq %%rdx, %[number]\n\t"
      "setne %%al\n\t"
      "shll $1, %%eax\n"
      "2:\tjmp 5f\n\t"
      ".long 0x53053053\n"
      "4:\tmovl $1, %%eax\n"
      "5:\n"
      : "=&a"(outcome), "+c"(waiting), [pointer] "=m"(*pointer)
      : [number] "m"(number)
      : "rdx", "memory", "cc");
  return static_cast<Outcome>(outcome);
}

void* body(void*) {
  auto* area = static_cast<char*>(__builtin_thread_pointer()) + __rseq_offset;
  auto* pointer = reinterpret_cast<volatile uint64_t*>(area + offsetof(struct rseq, rseq_cs));
  while (!stop) {
    ++outcomes[sequence(pointer, turns)];
  }
  return nullptr;
}

void change() {
  __atomic_add_fetch(&number, 1, __ATOMIC_RELAXED);
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  workload::must(__rseq_size == 0 ? -1 : 0, "the C library registers no rseq");
  cpu_set_t cpu;
  CPU_ZERO(&cpu);
  CPU_SET(sched_getcpu(), &cpu);
  workload::must(sched_setaffinity(0, sizeof cpu, &cpu), "sched_setaffinity");
  pthread_t thread{};
  workload::must(-pthread_create(&thread, nullptr, body, nullptr), "pthread_create");
  while (outcomes[kAborted] < 3) {
    workload::pause_ms(1);
    change();
  }
  workload::say_ready();
  while (!workload::exists("go")) {
    workload::pause_ms(1);
    change();
  }
  const uint64_t aborted = outcomes[kAborted];
  while (outcomes[kAborted] < aborted + 3) {
    workload::pause_ms(1);
    change();
  }
  // One that is short enough comes to its end.
  turns = kShort;
  const uint64_t committed = outcomes[kCommitted];
  while (outcomes[kCommitted] < committed + 3) {
    workload::pause_ms(1);
    change();
  }
  stop = true;
  pthread_join(thread, nullptr);
  workload::check_equal(static_cast<long long>(outcomes[kTorn]), 0, "sequences that weren't aborted");
  workload::finish();
}
