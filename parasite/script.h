// The language of everything that runs inside another process. Freestanding: shared by the engine
// (injected) and by the code that writes scripts (parasite/script_builder.h).
//
// A script is a list of operations, nearly all of them system calls with ready-made arguments. The
// dumper's parasite and the restorer are the same small interpreter; what they do is data that dump/
// and restore/ write, so that a new resource needs no new code inside other processes.
#pragma once

#include <stdint.h>

namespace godwit::script {

enum OpKind : uint8_t {
  OP_SYSCALL = 0,  // nr(args...) -> result
  OP_PLACE = 1,    // descriptor args[0] becomes number args[1], close-on-exec if args[2]; args[0] is closed
  OP_CLONE = 2,    // clone3(args[0] = struct clone_args*, args[1] = size); the child runs Script* args[2]
  OP_WAIT = 3,     // until *(uint32_t*)args[0] >= args[1] (futex)
  OP_POST =
      4,  // *(uint32_t*)args[0] += args[1], then *(uint32_t*)args[2] += 1 (0: none); both with futex wakes
  OP_STORE = 5,  // *(uint32_t*)args[0] = args[1] (a slot, usually)
  OP_COPY = 6,   // copy args[2] bytes from args[1] to args[0]
  OP_FINISH =
      7,        // parasite: raise signal args[0] in this thread, which its tracer sees; when no
                // tracer is left, resume the thread by the signal frame at args[1] (rt_sigreturn), or by
                // that at args[3] if args[2] isn't 0 and any of the threads whose /proc/self/task/TID/syscall
                // are listed there (THREAD_PATH bytes each, an empty one last) may be in [args[4], args[5])
  OP_PARK = 8,  // restorer: post as OP_POST, then wait for ever
  OP_LOAD = 9,  // *(int32_t*)args[0] -> result: a descriptor that a system call has written to memory
};

enum OpFlags : uint8_t {
  OP_MAY_FAIL = 1,       // an error is a result, not a failure
  OP_EXPECT_VALUE = 2,   // the result must be `expect`, else the script fails with EPROTO
  OP_MAY_FAIL_WITH = 4,  // the error -expect is a result, others are failures
};

constexpr int THREAD_PATH = 32;
constexpr uint8_t NO_SLOT = 0xff;
constexpr int SLOTS = 16;

struct Op {
  OpKind kind;
  uint8_t flags;
  uint8_t slot_arguments;  // bit n: args[n] is the index of a slot whose value is meant
  uint8_t result_slot;     // NO_SLOT: none
  uint32_t number;         // OP_SYSCALL: system call number
  uint32_t label;          // for the writer: which words belong to it in an error message
  int32_t expect;
  uint64_t args[6];
  int64_t result;  // written by the engine
};

enum ScriptState : uint32_t {
  SCRIPT_NEW = 0,
  SCRIPT_RUNNING = 1,
  SCRIPT_DONE = 2,    // parked or finished
  SCRIPT_FAILED = 3,  // at `current`, with `error`
};

struct Script {
  uint64_t ops;  // Op*
  uint32_t count;
  volatile uint32_t state;
  volatile uint32_t current;  // index of the operation that runs
  int32_t error;              // errno of the operation that failed
  uint64_t events;            // uint32_t*: a word that the coordinator waits on; bumped at a failure. 0: none
  int64_t slots[SLOTS];
};

}  // namespace godwit::script
