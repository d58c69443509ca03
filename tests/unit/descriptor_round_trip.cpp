#include "tests/unit/descriptor_round_trip.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <map>
#include <memory>
#include <vector>

#include "dump/descriptors.h"
#include "images-format/checkpoint_reader.h"
#include "images-format/checkpoint_writer.h"
#include "kernel/error.h"
#include "kernel/fd.h"
#include "parasite/native.h"
#include "restore/descriptors.h"
#include "restore/file.h"

namespace godwit::testing {

namespace {

/// What the processes of a round trip tell one another.
struct Shared {
  char failure[1024];
  pid_t second;
};

Shared* shared = nullptr;

using Blocks = std::vector<std::vector<std::byte>>;

class MemoryPages : public PageSink, public PageSource {
 public:
  image::PageBlock write_block(std::span<const std::byte> pages) override {
    image::PageBlock block;
    block.set_offset(blocks_.size());
    block.set_pages(static_cast<uint32_t>(pages.size() / kPageSize));
    block.set_stored_bytes(static_cast<uint32_t>(pages.size()));
    blocks_.emplace_back(pages.begin(), pages.end());
    return block;
  }
  void read_block(const image::PageBlock& block, std::span<std::byte> out) const override {
    const auto& content = blocks_.at(block.offset());
    std::copy(content.begin(), content.end(), out.begin());
  }

 private:
  Blocks blocks_;
};

class MemoryWriter : public CheckpointWriter {
 public:
  void add(const google::protobuf::Message& record) override {
    std::unique_ptr<google::protobuf::Message> copy(record.New());
    copy->CopyFrom(record);
    records.push_back({record_type_of(record), std::move(copy)});
  }
  PageSink& pages() override { return *content; }
  void commit() override {}
  [[nodiscard]] CheckpointName name() const override { return {}; }
  void retract() noexcept override {}
  void part() noexcept override {}

  std::vector<Record> records;
  std::unique_ptr<MemoryPages> content = std::make_unique<MemoryPages>();
};

/// Runs `body`, and ends the process.
[[noreturn]] void guarded(const std::function<void()>& body) {
  try {
    body();
  } catch (const std::exception& e) {
    std::snprintf(shared->failure, sizeof shared->failure, "%s", e.what());
    ::_exit(1);
  }
  ::_exit(0);
}

/// A process with nothing but /dev/null at its standard descriptors.
pid_t start(const std::function<void()>& body) {
  const pid_t pid = ::fork();
  if (pid != 0) {
    return pid;
  }
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  for (int fd = 0; fd < 3; ++fd) {
    ::dup2(null, fd);
  }
  ::close_range(3, ~0U, 0);
  guarded(body);
}

void end(pid_t pid) {
  if (pid > 0) {
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
  }
}

void add_task(CheckpointWriter& writer, DescriptorCollector& collector, pid_t pid) {
  image::Task task;
  task.add_pid(pid);
  task.set_descriptor_table_id(collector.collect(pid));
  writer.add(task);
}

void dump_descriptors(pid_t first, pid_t second, MemoryWriter& writer) {
  FileTable files;
  SharedMemoryTable shared_memory;
  MemoryObjectIds ids;
  const DumpOptions options;
  NamespaceTable namespaces(read_namespaces(getpid(), gettid()), options);
  DescriptorCollector collector(files, shared_memory, namespaces, options);
  image::Checkpoint header;
  header.set_boot_id(read_file("/proc/sys/kernel/random/boot_id").substr(0, 36));
  writer.add(header);
  add_task(writer, collector, first);
  if (second > 0) {
    add_task(writer, collector, second);
  }
  collector.finish();
  collector.write(writer);
  files.write(writer, ids);
}

void fill_table(DescriptorPlan& plan, const image::Task& task, const FileOpener& files,
                const NativeScripts& native) {
  const auto first = static_cast<unsigned>(plan.first_free_descriptor());
  ScriptBuilder placing = native.script();
  plan.emit_place(placing, task, files, {});
  native.run(placing);
  ::close_range(first, ~0U, 0);
  ScriptBuilder finishing = native.script();
  plan.emit_finish(finishing, task);
  native.run(finishing);
}

/// Runs in a process of its own. Each task gets its table in a child, as a restored task would.
void rebuild(const CheckpointImage& image, const std::function<void()>& check,
             const std::function<void()>& second) {
  DescriptorPlan plan(image);
  FileOpener files(image, plan.first_free_descriptor());
  plan.make_shared(files, {}, files.next_descriptor());
  const NativeScripts native(size_t{64} << 20);
  std::map<pid_t, pid_t> children;  // by the pid in the image
  for (const image::Task* task : image.all<image::Task>()) {
    const auto& checks = children.empty() ? check : second;
    const pid_t child = ::fork();
    if (child == 0) {
      guarded([&] {
        fill_table(plan, *task, files, native);
        ::raise(SIGSTOP);
        checks();
      });
    }
    children[task->pid(0)] = child;
    int status = 0;
    ::waitpid(child, &status, WUNTRACED);
    if (!WIFSTOPPED(status)) {
      ::_exit(1);
    }
  }
  plan.fill([&](pid_t in_image) {
    const auto found = children.find(in_image);
    return found == children.end() ? throw error("no task {}", in_image) : found->second;
  });
  bool failed = false;
  for (const auto& [pid, child] : children) {
    ::kill(child, SIGCONT);
  }
  for (const auto& [pid, child] : children) {
    int status = 0;
    failed = ::waitpid(child, &status, 0) != child || status != 0 || failed;
  }
  ::_exit(failed ? 1 : 0);
}

/// A stopped process that has run `setup`, and perhaps its stopped child.
struct Source {
  explicit Source(const std::function<void()>& setup, bool with_second) {
    shared->second = 0;
    first = start([&] {
      setup();
      if (with_second) {
        const pid_t child = ::fork();
        if (child == 0) {
          ::raise(SIGSTOP);
          ::_exit(0);
        }
        ::waitpid(child, nullptr, WUNTRACED);
        shared->second = child;
      }
      ::raise(SIGSTOP);
    });
    int status = 0;
    ::waitpid(first, &status, WUNTRACED);
    stopped = WIFSTOPPED(status);
  }
  Source(const Source&) = delete;
  Source& operator=(const Source&) = delete;
  ~Source() {
    if (shared->second > 0) {
      ::kill(shared->second, SIGKILL);
    }
    end(first);
  }
  pid_t first = 0;
  bool stopped = false;
};

std::string failure() {
  return shared->failure[0] != '\0' ? shared->failure : "the process ended without a word";
}

void prepare() {
  if (shared == nullptr) {
    shared = static_cast<Shared*>(
        ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  }
  shared->failure[0] = '\0';
}

}  // namespace

void require(bool holds, const char* what, int line) {
  if (!holds) {
    throw error("line {}: {} doesn't hold (errno {})", line, what, errno);
  }
}

std::string round_trip(const std::function<void()>& setup, const std::function<void()>& check,
                       const std::function<void()>& second) {
  prepare();
  MemoryWriter writer;
  {
    const Source source(setup, static_cast<bool>(second));
    if (!source.stopped) {
      return "setup: " + failure();
    }
    try {
      dump_descriptors(source.first, shared->second, writer);
    } catch (const Error& e) {
      return std::string("dump: ") + e.what();
    }
  }
  const CheckpointImage image(std::move(writer.records), std::move(writer.content));
  const pid_t rebuilt = start([&] { rebuild(image, check, second); });
  int status = 0;
  ::waitpid(rebuilt, &status, 0);
  return status == 0 ? std::string() : "restore: " + failure();
}

std::string refused(const std::function<void()>& setup) {
  prepare();
  const Source source(setup, false);
  if (!source.stopped) {
    return "setup: " + failure();
  }
  MemoryWriter writer;
  try {
    dump_descriptors(source.first, 0, writer);
  } catch (const Error& e) {
    return e.what();
  }
  return {};
}

}  // namespace godwit::testing
