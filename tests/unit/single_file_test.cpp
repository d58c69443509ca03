// A checkpoint as one file, or as a stream.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <random>
#include <thread>

#include "images-format/checkpoint_reader.h"
#include "images-format/frame.h"
#include "images-format/section.h"
#include "images-format/spooled_checkpoint.h"
#include "kernel/error.h"
#include "kernel/fd.h"
#include "tests/unit/sample_checkpoint.h"

namespace godwit {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::IsEmpty;
using Bytes = std::vector<std::byte>;

std::vector<std::string> names_in(const std::string& path) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(path)) {
    names.push_back(entry.path().filename());
  }
  std::sort(names.begin(), names.end());
  return names;
}

Bytes load(const std::string& path) {
  const std::string text = read_file(path);
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

void fill(CheckpointWriter& writer) {
  for (const Record& record : sample_records(writer.pages())) {
    writer.add(*record.message);
  }
}

void write_file(const std::string& path, const WriterOptions& options = {.sync = false}) {
  const auto writer = CheckpointWriter::create_file(path, options);
  fill(*writer);
  writer->commit();
}

void expect_sample(const CheckpointImage& image) {
  verify_pages(image);
  MemoryPages pages;
  const std::vector<Record> expected = sample_records(pages);
  ASSERT_EQ(image.records().size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    if (expected[i].type != RecordType::MemoryObject) {
      EXPECT_EQ(image.records()[i].message->DebugString(), expected[i].message->DebugString());
      continue;
    }
    // The same pages, wherever they lie.
    const auto& here = static_cast<const image::MemoryObject&>(*image.records()[i].message);
    const auto& there = static_cast<const image::MemoryObject&>(*expected[i].message);
    ASSERT_EQ(here.blocks_size(), there.blocks_size());
    for (int b = 0; b < here.blocks_size(); ++b) {
      Bytes read(here.blocks(b).pages() * kPageSize);
      Bytes wanted(there.blocks(b).pages() * kPageSize);
      image.pages().read_block(here.blocks(b), read);
      pages.read_block(there.blocks(b), wanted);
      EXPECT_EQ(read, wanted);
    }
  }
}

struct Pipe {
  Pipe() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
      throw errno_error("cannot make a pipe");
    }
    from = Fd(ends[0]);
    to = Fd(ends[1]);
  }
  Fd from;
  Fd to;
};

/// $TMPDIR is a directory of its own, so that what is left there is seen.
class SingleFile : public testing::TestWithParam<image::PageBlock::Codec> {
 protected:
  void SetUp() override {
    if (const char* set = std::getenv("TMPDIR")) {
      before_ = set;
    }
    fs::create_directory(copies_);
    ::setenv("TMPDIR", copies_.c_str(), 1);
  }
  void TearDown() override { before_ ? ::setenv("TMPDIR", before_->c_str(), 1) : ::unsetenv("TMPDIR"); }

  [[nodiscard]] WriterOptions options() const { return {.codec = GetParam(), .sync = false}; }

  /// What a writer sends.
  Bytes stream() {
    const std::string path = directory_ / "stream";
    const Fd file = open_file(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    const auto writer = CheckpointWriter::create_stream(file.get(), path, options());
    fill(*writer);
    writer->commit();
    writer->part();
    return load(path);
  }

  Bytes file() {
    const std::string path = directory_ / "file";
    fs::remove(path);
    write_file(path, options());
    return load(path);
  }

  /// The error's text, if it comes as a file; empty: accepted.
  std::string read_as_file(std::span<const std::byte> bytes) {
    const Fd file(::memfd_create("file", MFD_CLOEXEC));
    write_all(file.get(), bytes, "file");
    try {
      verify_pages(CheckpointImage::open_file(Fd(::dup(file.get())), "file"));
      return "";
    } catch (const Error& e) {
      return e.what();
    }
  }

  /// The same, if it comes through a pipe, which is closed then. A copy that was kept must be whole; it is
  /// removed unless somebody wants it.
  std::string read_as_stream(std::span<const std::byte> bytes, bool keep = false) {
    Pipe pipe;
    EXPECT_GE(::fcntl(pipe.to.get(), F_SETPIPE_SZ, 1 << 20), static_cast<int>(bytes.size()));
    write_all(pipe.to.get(), bytes, "pipe");
    pipe.to.reset();
    std::optional<SpooledCheckpoint> spooled;
    std::string failure;
    try {
      spooled.emplace(pipe.from.get(), "pipe");
      spooled->accept();
    } catch (const Error& e) {
      failure = e.what();
    }
    if (spooled && !spooled->kept().empty()) {
      EXPECT_NO_THROW(static_cast<void>(CheckpointImage::open(spooled->kept())));
      if (!keep) {
        spooled->remove();
      }
    }
    return failure;
  }

  TempDirectory directory_;
  const std::string copies_ = directory_ / "copies";
  std::optional<std::string> before_;
};

INSTANTIATE_TEST_SUITE_P(Codecs, SingleFile, testing::Values(image::PageBlock::NONE, image::PageBlock::ZSTD),
                         [](const auto& codec) {
                           return codec.param == image::PageBlock::NONE ? "None" : "Zstd";
                         });

TEST_P(SingleFile, EveryRecordAndPageComesBackFromAFile) {
  write_file(directory_ / "image", {.codec = GetParam(), .sync = true});
  EXPECT_EQ(names_in(directory_.path()), (std::vector<std::string>{"copies", "image"}));
  struct stat status {};
  ASSERT_EQ(::stat((directory_ / "image").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode, S_IFREG | 0600U);
  EXPECT_EQ(status.st_size % static_cast<off_t>(kPageSize), 0);
  expect_sample(CheckpointImage::open(directory_ / "image"));
}

TEST_P(SingleFile, WhatAStreamCarriesIsAFile) {
  const Bytes bytes = stream();
  expect_sample(CheckpointImage::open(directory_ / "stream"));
  EXPECT_EQ(read_as_file(bytes), "");
  EXPECT_EQ(read_as_stream(bytes), "");
  EXPECT_EQ(read_as_stream(file()), "");
  EXPECT_THAT(names_in(copies_), IsEmpty());
}

TEST_P(SingleFile, EveryRecordAndPageComesBackFromAPipe) {
  Pipe pipe;
  std::string failure = "the writer hasn't come to its end";
  std::thread writing([&] {
    try {
      const auto writer = CheckpointWriter::create_stream(pipe.to.get(), "pipe", options());
      fill(*writer);
      writer->commit();
      writer->part();
      failure.clear();
    } catch (const Error& e) {
      failure = e.what();
    }
    pipe.to.reset();
  });
  std::string kept;
  {
    SpooledCheckpoint spooled(pipe.from.get(), "pipe");
    EXPECT_THAT(names_in(copies_), IsEmpty());
    EXPECT_EQ(spooled.kept(), "");
    spooled.accept();
    kept = spooled.kept();
    expect_sample(spooled.image());
  }
  writing.join();
  EXPECT_EQ(failure, "");
  ASSERT_EQ(names_in(copies_).size(), 1U) << "it is all there is now";
  EXPECT_EQ(kept, copies_ + "/" + names_in(copies_).front());
  expect_sample(CheckpointImage::open(kept));
}

/// Closes what it reads from in front of the last page.
std::string commit_to_a_reader_that_leaves(const Fd& to, Fd from, const WriterOptions& options) {
  std::thread reading([&] {
    const SpooledCheckpoint spooled(from.get(), "stream");
    from.reset();
  });
  std::string failure;
  try {
    const auto writer = CheckpointWriter::create_stream(to.get(), "stream", options);
    fill(*writer);
    writer->commit();
  } catch (const Error& e) {
    failure = e.what();
  }
  reading.join();
  return failure;
}

TEST_P(SingleFile, AReaderThatLeavesTheLastPageUnreadHasNotTakenIt) {
  Pipe pipe;
  const auto ignored = ::signal(SIGPIPE, SIG_IGN);
  EXPECT_THAT(commit_to_a_reader_that_leaves(pipe.to, std::move(pipe.from), options()),
              HasSubstr("Broken pipe"));
  ::signal(SIGPIPE, ignored);
  std::array<int, 2> ends{};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
  const Fd to(ends[0]);
  EXPECT_NE(commit_to_a_reader_that_leaves(to, Fd(ends[1]), options()), "");
  EXPECT_THAT(names_in(copies_), IsEmpty());
}

void send_through(Fd to, const Fd& from, const WriterOptions& options) {
  std::thread reading([&] {
    SpooledCheckpoint spooled(from.get(), "socket");
    spooled.accept();
    expect_sample(spooled.image());
    spooled.remove();
  });
  const auto writer = CheckpointWriter::create_stream(to.get(), "socket", options);
  fill(*writer);
  EXPECT_NO_THROW(writer->commit());
  writer->part();
  to.reset();
  reading.join();
}

TEST_P(SingleFile, AUnixSocketDoesAsAPipe) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
  const Fd from(ends[1]);
  send_through(Fd(ends[0]), from, options());
}

TEST_P(SingleFile, ATcpConnectionCarriesIt) {
  const Fd listening(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  auto* plain = reinterpret_cast<sockaddr*>(&address);
  socklen_t size = sizeof(address);
  ASSERT_EQ(::bind(listening.get(), plain, size), 0);
  ASSERT_EQ(::listen(listening.get(), 1), 0);
  ASSERT_EQ(::getsockname(listening.get(), plain, &size), 0);
  Fd to(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(::connect(to.get(), plain, size), 0);
  const Fd from(::accept4(listening.get(), nullptr, nullptr, SOCK_CLOEXEC));
  ASSERT_TRUE(from);
  send_through(std::move(to), from, options());
}

/// Of a file nobody asks for the page behind the end.
bool is_whole(size_t length, const Bytes& bytes) {
  return length + kPageSize == bytes.size();
}

TEST_P(SingleFile, CutAnywhereItIsRefused) {
  for (const Bytes& bytes : {file(), stream()}) {
    for (size_t length = 0; length < bytes.size(); length += 61) {
      const auto cut = std::span(bytes).first(length);
      ASSERT_EQ(read_as_file(cut).empty(), is_whole(length, bytes))
          << "cut at " << length << " of " << bytes.size();
    }
    for (size_t length = 0; length <= bytes.size(); length += kPageSize) {
      for (const size_t off : {length - 1, length, length + 1}) {
        if (off < bytes.size()) {
          const auto cut = std::span(bytes).first(off);
          ASSERT_EQ(read_as_file(cut).empty(), is_whole(off, bytes))
              << "cut at " << off << " of " << bytes.size();
          ASSERT_NE(read_as_stream(cut), "") << "cut at " << off << " of " << bytes.size();
        }
      }
    }
  }
  EXPECT_THAT(names_in(copies_), IsEmpty());
}

TEST_P(SingleFile, AFlippedBitAnywhereIsFound) {
  for (Bytes bytes : {file(), stream()}) {
    for (size_t at = 0; at < bytes.size(); at += at % kPageSize < 64 ? 1 : 37) {
      const auto bit = static_cast<std::byte>(1U << (at % 8));
      bytes[at] ^= bit;
      ASSERT_NE(read_as_file(bytes), "") << "byte " << at;
      if (at % 5 == 0) {
        ASSERT_NE(read_as_stream(bytes), "") << "byte " << at;
      }
      bytes[at] ^= bit;
    }
    EXPECT_EQ(read_as_file(bytes), "");
  }
  EXPECT_THAT(names_in(copies_), IsEmpty());
}

TEST_P(SingleFile, SomethingBehindItsEndIsRefused) {
  Bytes bytes = file();
  const Bytes once = bytes;
  bytes.push_back(std::byte{0});
  EXPECT_THAT(read_as_file(bytes), HasSubstr("behind its end"));
  bytes.pop_back();
  bytes.insert(bytes.end(), once.begin(), once.end());
  EXPECT_THAT(read_as_file(bytes), HasSubstr("behind its end"));
  // Its last page has been read, and whoever wrote it may have done with the tree.
  EXPECT_THAT(read_as_stream(bytes, true), HasSubstr("behind its end"));
  ASSERT_EQ(names_in(copies_).size(), 1U);
  expect_sample(CheckpointImage::open(copies_ + "/" + names_in(copies_).front()));
}

class BytesSink final : public ByteSink {
 public:
  void write(std::span<const std::byte> data) override {
    bytes.insert(bytes.end(), data.begin(), data.end());
  }
  Bytes bytes;
};

/// A file whose sections a test makes up.
class MadeUp : public SingleFile {
 protected:
  MadeUp() {
    FrameWriter frames;
    for (const Record& record : sample_records(pages_)) {
      frames.add(*record.message);
    }
    const auto closed = frames.close({pages_.bytes().size()});
    frames_.assign(closed.begin(), closed.end());
  }

  void add(SectionType type, std::span<const std::byte> data, uint64_t before) {
    write_section(sink_, {.type = type, .bytes = data.size(), .payload_before = before}, data);
  }
  void add_end() {
    add(SectionType::Metadata, frames_, pages_.bytes().size());
    add(SectionType::End, {}, pages_.bytes().size());
    add(SectionType::Parted, {}, pages_.bytes().size());
  }
  std::string verdict() {
    const std::string as_file = read_as_file(sink_.bytes);
    const std::string as_stream = read_as_stream(sink_.bytes);
    EXPECT_EQ(as_file.empty(), as_stream.empty()) << as_file << "\n" << as_stream;
    return as_file;
  }

  MemoryPages pages_;
  Bytes frames_;
  BytesSink sink_;
};

INSTANTIATE_TEST_SUITE_P(OfSections, MadeUp, testing::Values(image::PageBlock::NONE));

TEST_P(MadeUp, OneSectionOfPagesIsGood) {
  add(SectionType::Pages, pages_.bytes(), 0);
  add_end();
  EXPECT_EQ(verdict(), "");
}

TEST_P(MadeUp, ABlockInTwoSectionsIsRefused) {
  for (size_t at = 0; at < pages_.bytes().size(); at += kPageSize) {
    add(SectionType::Pages, std::span(pages_.bytes()).subspan(at, kPageSize), at);
  }
  add_end();
  EXPECT_THAT(verdict(), HasSubstr("in one piece"));
}

TEST_P(MadeUp, MissingAndMisplacedSectionsAreRefused) {
  const size_t half = pages_.bytes().size() / kPageSize / 2 * kPageSize;
  const auto first = std::span(pages_.bytes()).first(half);
  const auto second = std::span(pages_.bytes()).subspan(half);
  const auto refused = [&](const auto& make, const char* words) {
    sink_.bytes.clear();
    make();
    EXPECT_THAT(verdict(), HasSubstr(words));
  };
  refused(
      [&] {
        add(SectionType::Pages, first, 0);
        add_end();
      },
      "isn't where it belongs");
  refused(
      [&] {
        add(SectionType::Pages, second, half);
        add(SectionType::Pages, first, 0);
        add_end();
      },
      "isn't where it belongs");
  refused(
      [&] {
        add(SectionType::Pages, first, 0);
        add(SectionType::Metadata, frames_, half);
        add(SectionType::End, {}, half);
      },
      "bytes of pages");
  refused([&] { add(SectionType::End, {}, 0); }, "without metadata");
  refused(
      [&] {
        add(SectionType::Pages, pages_.bytes(), 0);
        add(SectionType::Metadata, frames_, pages_.bytes().size());
        add(SectionType::End, {}, half);
      },
      "last page");
  refused(
      [&] {
        add(SectionType::Pages, pages_.bytes(), 0);
        add(SectionType::Metadata, frames_, pages_.bytes().size());
        add(SectionType::Metadata, frames_, pages_.bytes().size());
      },
      "last page");
  refused([&] { add(SectionType::Pages, first.first(100), 0); }, "whole pages");
  refused([&] { add(static_cast<SectionType>(9), first, 0); }, "unknown type 9");
  refused([&] { add(SectionType::Pages, {}, 0); }, "impossible");
}

/// Only what is really there is allocated, or copied.
TEST_P(MadeUp, LengthsThatAreNotTrueAreRefused) {
  for (const SectionType type : {SectionType::Pages, SectionType::Metadata}) {
    for (const uint64_t bytes : {uint64_t{1} << 40, uint64_t{1} << 61, uint64_t{1} << 62, UINT64_MAX}) {
      std::array<std::byte, kPageSize> page;
      encode_section({.type = type, .bytes = bytes, .payload_before = 0}, page);
      sink_.bytes.assign(page.begin(), page.end());
      sink_.bytes.insert(sink_.bytes.end(), frames_.begin(), frames_.end());
      EXPECT_NE(verdict(), "") << bytes;
    }
  }
}

TEST_P(MadeUp, ForeignAndNewerFilesAreRefusedByName) {
  EXPECT_THAT(read_as_stream({}), HasSubstr("is empty"));
  EXPECT_THAT(read_as_file(Bytes(5000)), HasSubstr("isn't a checkpoint"));
  EXPECT_THAT(read_as_stream(Bytes(5)), HasSubstr("isn't a checkpoint"));
  EXPECT_THAT(read_as_file(frames_), HasSubstr("name the directory"));
  add(SectionType::Pages, pages_.bytes(), 0);
  sink_.bytes[8] = std::byte{2};
  EXPECT_THAT(verdict(), HasSubstr("format version 2 is newer"));
}

TEST_P(MadeUp, RandomMutationsEndInAnErrorOrAGoodImage) {
  add(SectionType::Pages, pages_.bytes(), 0);
  add_end();
  std::mt19937_64 random(1);
  for (int i = 0; i < 3000; ++i) {
    Bytes bytes = sink_.bytes;
    const size_t page = random() % (bytes.size() / kPageSize);
    for (size_t steps = 1 + random() % 4; steps > 0; --steps) {
      bytes[page * kPageSize + random() % 48] = static_cast<std::byte>(random());
    }
    if (bytes != sink_.bytes) {
      ASSERT_NE(read_as_file(bytes), "") << i;
    }
    // The same under a right checksum: whatever it says must end well.
    Section section{.type = static_cast<SectionType>(1 + random() % 3),
                    .bytes = random() >> (random() % 64),
                    .payload_before = random() % 2 == 0 ? 0 : pages_.bytes().size()};
    bytes = sink_.bytes;
    encode_section(section, std::span(bytes).subspan(page * kPageSize).first<kPageSize>());
    static_cast<void>(read_as_file(bytes));
  }
}

}  // namespace
}  // namespace godwit
