#include "dump/interview.h"

#include <utility>

#include "dump/collectors.h"
#include "kernel/error.h"
#include "kernel/pagemap.h"
#include "parasite/parasite.h"

namespace godwit {

namespace {

constexpr size_t kPage = 4096;
// Room for the engine and for questions, stack and signal frame of a thread.
constexpr size_t kTaskBytes = 8 * kPage;
constexpr size_t kThreadBytes = 5 * kPage;
constexpr size_t kBytesPerTimerOrChild = 512;

/// The questions to one task, from the start of its parasite to the end.
class Interview {
 public:
  Interview(TaskState& task, std::vector<image::Task*> stopped_children, OwnCodeFinder& finder)
      : task_(task),
        stopped_children_(std::move(stopped_children)),
        timers_(procfs::read_timers(task.pid())),
        address_(free_range(used(task), bytes())),
        parasite_(task.frozen->threads, task.maps, finder, address_, bytes()) {}

  void start() {
    note_future_locks();
    for (ThreadState& thread : task_.threads) {
      ScriptBuilder& script = scripts_.emplace_back(parasite_.next_script_address());
      if (thread.tid == task_.pid()) {
        ask_task(script);
      }
      ask_thread(script, *thread.record);
      parasite_.start(thread.tid, script);
    }
  }

  void finish() {
    // The leader, which was the first to start, is the last.
    for (size_t i = scripts_.size(); i-- > 0;) {
      parasite_.collect(task_.threads[i].tid);
      for (const auto& answer : answers_[i]) {
        answer(scripts_[i]);
      }
    }
  }

  [[nodiscard]] const TaskState& task() const { return task_; }

 private:
  [[nodiscard]] size_t bytes() const {
    const size_t least = kTaskBytes + kThreadBytes * task_.threads.size() +
                         kBytesPerTimerOrChild * (timers_.size() + stopped_children_.size());
    return (least + kPage - 1) / kPage * kPage;
  }

  static std::vector<std::pair<uint64_t, uint64_t>> used(const TaskState& task) {
    std::vector<std::pair<uint64_t, uint64_t>> ranges;
    ranges.reserve(task.maps.size());
    for (const procfs::Map& map : task.maps) {
      ranges.emplace_back(map.start, map.end);
    }
    return ranges;
  }

  /// What mlockall(2) does to mappings yet to come is seen by what it did to the parasite's; nothing else
  /// tells. Memory that is locked at once is there at once, the last page too, which nobody has touched.
  void note_future_locks() {
    const uint64_t locked = procfs::read_status(task_.pid(), task_.pid()).locked_kib;
    if (locked > task_.threads.front().status.locked_kib) {
      task_.mm.set_lock_future(true);
      PagemapEntry last;
      Pagemap(task_.pid()).read(address_ + bytes() - kPage, {&last, 1});
      task_.mm.set_lock_future_on_fault(!last.present());
    }
  }

  void ask_task(ScriptBuilder& script) {
    Answers& answers = answers_.emplace_back();
    ask_interval_timers(script, answers, task_.record);
    ask_posix_timers(timers_, script, answers, task_.record);
    ask_signal_actions(script, answers, task_.record);
    ask_resource_limits(script, answers, task_.record);
    ask_child_subreaper(script, answers, task_.record);
    ask_mm(script, answers, task_.mm);
    for (image::Task* child : stopped_children_) {
      ask_stop_reported(script, answers, task_.record, *child);
    }
  }

  void ask_thread(ScriptBuilder& script, image::Thread& record) {
    if (answers_.size() < scripts_.size()) {
      answers_.emplace_back();
    }
    Answers& answers = answers_.back();
    ask_alternate_stack(script, answers, record);
    ask_tid_address(script, answers, record);
    ask_parent_death_signal(script, answers, record);
    ask_securebits(script, answers, record);
    ask_timer_slack(script, answers, record);
    ask_personality(script, answers, record);
  }

  TaskState& task_;
  std::vector<image::Task*> stopped_children_;
  std::vector<procfs::Timer> timers_;
  // Scripts must outlive the parasite, which may still run them when it ends early.
  std::deque<ScriptBuilder> scripts_;
  std::deque<Answers> answers_;
  const uint64_t address_;
  Parasite parasite_;
};

template <typename Body>
void about(const TaskState& task, Body&& body) {
  with_context([&] { return fmt::format("task {}", task.pid()); }, std::forward<Body>(body));
}

std::vector<image::Task*> stopped_children(std::deque<TaskState>& tasks, const TaskState& parent) {
  std::vector<image::Task*> children;
  for (TaskState& task : tasks) {
    if (task.parent == &parent && task.record.state() == image::Task::STOPPED) {
      children.push_back(&task.record);
    }
  }
  return children;
}

}  // namespace

void interview(std::deque<TaskState>& tasks) {
  OwnCodeFinder finder;
  std::deque<Interview> interviews;
  bool any_stopped = false;
  for (TaskState& task : tasks) {
    const bool stopped = task.record.state() == image::Task::STOPPED;
    any_stopped = any_stopped || stopped;
    // The root's parent isn't ours to ask.
    task.record.set_stop_reported(stopped && task.parent == nullptr);
  }
  for (TaskState& task : tasks) {
    if (!task.frozen->zombie()) {
      about(task, [&] {
        interviews
            .emplace_back(task, any_stopped ? stopped_children(tasks, task) : std::vector<image::Task*>{},
                          finder)
            .start();
      });
    }
  }
  for (Interview& interview : interviews) {
    about(interview.task(), [&] { interview.finish(); });
  }
}

}  // namespace godwit
