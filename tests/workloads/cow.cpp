// Pages that parent and children share copy-on-write, three levels deep, some changed in each. That they are
// shared still, the harness sees by Pss; here it is checked that they are private still.
#include <sys/mman.h>

#include "tests/workloads/workload.h"

namespace {

constexpr size_t kPage = 4096;
constexpr size_t kPages = 4096;
constexpr int kLevels = 3;

unsigned char* memory = nullptr;

/// Each level changes another sixteenth, so that most pages are those of the root.
bool changed_by(int level, size_t page) {
  return page % 16 == static_cast<size_t>(level);
}

void write_page(size_t page, int level) {
  for (size_t i = 0; i < kPage; i += 64) {
    memory[page * kPage + i] =
        static_cast<unsigned char>(page * 3 + i / 64 + static_cast<size_t>(level) * 101 + 1);
  }
}

void check_page(size_t page, int level, int reader) {
  for (size_t i = 0; i < kPage; i += 64) {
    const auto wanted = static_cast<unsigned char>(page * 3 + i / 64 + static_cast<size_t>(level) * 101 + 1);
    if (memory[page * kPage + i] != wanted) {
      workload::fail("level %d: page %zu is not that of level %d", reader, page, level);
      return;
    }
  }
}

/// The pages of a process of `level`: those of the levels above it, but what it has changed itself.
void check_all(int level) {
  for (size_t page = 0; page < kPages; ++page) {
    int owner = 0;
    for (int above = 1; above <= level; ++above) {
      owner = changed_by(above, page) ? above : owner;
    }
    check_page(page, owner, level);
  }
}

/// Two children on each level.
void run(int level) {
  pid_t children[2] = {};
  if (level < kLevels) {
    for (int i = 0; i < 2; ++i) {
      children[i] = fork();
      if (children[i] == 0) {
        for (size_t page = 0; page < kPages; ++page) {
          if (changed_by(level + 1, page)) {
            write_page(page, level + 1);
          }
        }
        run(level + 1);
        workload::finish_child();
      }
    }
    for (const pid_t child : children) {
      workload::wait_for_mark("stands-" + std::to_string(child));
    }
  }
  workload::mark(("stands-" + std::to_string(getpid())).c_str());
  if (level == 0) {
    workload::say_ready();
  }
  workload::wait_to_go_on();
  check_all(level);
  // Writes of one are not seen by the others, who look only afterwards.
  memset(memory, level + 1, kPage);
  if (level < kLevels) {
    for (const pid_t child : children) {
      workload::expect_end(child);
    }
  }
  workload::check_equal(memory[0], level + 1, "a page that children have written too");
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  void* place = mmap(nullptr, kPages * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  workload::must(place == MAP_FAILED ? -1 : 0, "mmap");
  memory = static_cast<unsigned char*>(place);
  for (size_t page = 0; page < kPages; ++page) {
    write_page(page, 0);
  }
  run(0);
  workload::finish();
}
