#include "tests/bench/limits.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <thread>

#include "kernel/error.h"
#include "kernel/fd.h"

extern char** environ;

namespace godwit::bench {

namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kBlock = 256 << 10;  // stays in the cache of a core
constexpr int kThreads = 2;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

struct Piece {
  pid_t pid;  // or the number of the file
  uint64_t address;
  size_t bytes;
  off_t offset;
};

/// Lets the threads take pieces from one list until it is empty.
double work_off(const std::vector<Piece>& pieces, const std::function<void(const Piece&, std::byte*)>& work) {
  std::atomic<size_t> next{0};
  std::atomic<bool> failed{false};
  const Clock::time_point start = Clock::now();
  const auto body = [&] {
    std::vector<std::byte> buffer(kBlock);
    try {
      for (size_t i = next++; i < pieces.size(); i = next++) {
        work(pieces[i], buffer.data());
      }
    } catch (const Error&) {
      failed = true;
    }
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back(body);
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  if (failed) {
    throw error("copying for the limit failed");
  }
  return seconds_since(start);
}

std::vector<Piece> pieces_of(const std::vector<Region>& regions) {
  std::vector<Piece> pieces;
  off_t offset = 0;
  for (const Region& region : regions) {
    for (size_t at = 0; at < region.bytes; at += kBlock) {
      const size_t bytes = std::min(kBlock, region.bytes - at);
      pieces.push_back({region.pid, region.address + at, bytes, offset});
      offset += static_cast<off_t>(bytes);
    }
  }
  return pieces;
}

}  // namespace

double time_command(const std::vector<std::string>& command, std::string* output) {
  std::vector<char*> arguments;
  for (const std::string& word : command) {
    arguments.push_back(const_cast<char*>(word.c_str()));
  }
  arguments.push_back(nullptr);
  const Fd file(memfd_create("output", MFD_CLOEXEC));
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, file.get(), 1);
  posix_spawn_file_actions_adddup2(&actions, file.get(), 2);
  pid_t pid = 0;
  int status = 0;
  const Clock::time_point start = Clock::now();
  const int code = posix_spawn(&pid, arguments[0], &actions, nullptr, arguments.data(), environ);
  const bool ended = code == 0 && waitpid(pid, &status, 0) == pid;
  const double seconds = seconds_since(start);
  posix_spawn_file_actions_destroy(&actions);
  lseek(file.get(), 0, SEEK_SET);
  const std::string said = read_all(file.get(), "output");
  if (!ended || status != 0) {
    throw error("{} {} failed: {}", command[0], command.size() > 1 ? command[1] : "", said);
  }
  if (output != nullptr) {
    *output = said;
  }
  return seconds;
}

double copy_out(const std::vector<Region>& regions, const std::string& file) {
  const Fd fd = open_file(file, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  return work_off(pieces_of(regions), [&](const Piece& piece, std::byte* buffer) {
    const iovec here{buffer, piece.bytes};
    const iovec there{reinterpret_cast<void*>(piece.address), piece.bytes};
    const auto wanted = static_cast<ssize_t>(piece.bytes);
    if (process_vm_readv(piece.pid, &here, 1, &there, 1, 0) != wanted ||
        pwrite(fd.get(), buffer, piece.bytes, piece.offset) != wanted) {
      throw errno_error("cannot copy {} bytes", piece.bytes);
    }
  });
}

double copy_in(const std::vector<std::string>& files, bool touched) {
  std::vector<Fd> sources;
  std::vector<Piece> pieces;
  size_t bytes = 0;
  for (const std::string& file : files) {
    sources.push_back(open_file(file, O_RDONLY));
    const off_t length = lseek(sources.back().get(), 0, SEEK_END);
    for (off_t at = 0; at < length; at += kBlock) {
      const size_t part = std::min(kBlock, static_cast<size_t>(length - at));
      pieces.push_back({static_cast<pid_t>(sources.size() - 1), bytes, part, at});
      bytes += part;
    }
  }
  void* place = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (place == MAP_FAILED) {
    throw errno_error("cannot map {} bytes", bytes);
  }
  const double seconds = work_off(pieces, [&](const Piece& piece, std::byte*) {
    const iovec here{static_cast<std::byte*>(place) + piece.address, piece.bytes};
    if (touched && madvise(here.iov_base, here.iov_len, MADV_POPULATE_WRITE) != 0) {
      throw errno_error("cannot touch {} bytes", piece.bytes);
    }
    const int source = sources[static_cast<size_t>(piece.pid)].get();
    if (preadv(source, &here, 1, piece.offset) != static_cast<ssize_t>(piece.bytes)) {
      throw errno_error("cannot read {} bytes", piece.bytes);
    }
  });
  munmap(place, bytes);
  return seconds;
}

}  // namespace godwit::bench
