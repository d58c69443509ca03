#include "images-format/checkpoint_reader.h"

#include <fcntl.h>
#include <google/protobuf/stubs/logging.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <numeric>

#include "images-format/frame.h"
#include "images-format/parent.h"
#include "images-format/partial_directory.h"
#include "images-format/payload.h"
#include "images-format/validate.h"
#include "kernel/error.h"

namespace godwit {

namespace {

constexpr const char* kDamaged = "the checkpoint is damaged";
/// A chain of rounds may be long, but each is read when the last is.
constexpr size_t kMostParents = 256;
constexpr const char* kNoCheckpoint = "a checkpoint is a directory or a file that a dump has made";

Record parse(const Frame& frame, size_t index) {
  const RecordKind* kind = find_record_kind(frame.type);
  if (kind == nullptr) {
    throw Error(fmt::format("frame {} is a record of the unknown type {}", index, frame.type), 0,
                "the checkpoint comes from a newer godwit");
  }
  // protobuf would print to stderr what is wrong with a record; the Error says enough.
  const google::protobuf::LogSilencer silence;
  Record record{kind->type, std::unique_ptr<google::protobuf::Message>(kind->prototype().New())};
  if (!record.message->ParseFromArray(frame.payload.data(), static_cast<int>(frame.payload.size()))) {
    throw Error(fmt::format("frame {} isn't a well-formed record of {}", index, kind->name), 0, kDamaged);
  }
  return record;
}

void check_closing(const image::Closing& closing, const std::vector<uint64_t>& checksums,
                   FrameReader& frames) {
  if (closing.frames() != checksums.size() || closing.metadata_hash() != hash_checksums(checksums)) {
    throw Error("the closing frame doesn't fit the frames in front of it", 0, kDamaged);
  }
  if (frames.next().has_value()) {
    throw Error("something stands behind the closing frame", 0, kDamaged);
  }
}

struct Metadata {
  std::vector<Record> records;  // without the Closing
  PayloadSizes payload_sizes;
  uint64_t closing_hash = 0;
};

Metadata read_metadata(ByteSource& source) {
  FrameReader frames(source);
  Metadata metadata;
  std::vector<uint64_t> checksums;
  while (const std::optional<Frame> frame = frames.next()) {
    Record record = parse(*frame, checksums.size());
    if (record.type == RecordType::Closing) {
      const auto& closing = static_cast<const image::Closing&>(*record.message);
      check_closing(closing, checksums, frames);
      metadata.closing_hash = frame->checksum;
      metadata.payload_sizes.assign(closing.payload_bytes().begin(), closing.payload_bytes().end());
      return metadata;
    }
    checksums.push_back(frame->checksum);
    metadata.records.push_back(std::move(record));
  }
  throw Error("it has no closing frame", 0, "the checkpoint is incomplete");
}

/// Bytes read; fewer than asked for only at the end.
size_t read_at(int fd, std::span<std::byte> out, uint64_t offset, const std::string& name) {
  size_t used = 0;
  while (used < out.size()) {
    const ssize_t got = ::pread(fd, out.data() + used, out.size() - used, static_cast<off_t>(offset + used));
    if (got < 0 && errno != EINTR) {
      throw errno_error("cannot read {}", name);
    }
    if (got == 0) {
      break;
    }
    used += got > 0 ? static_cast<size_t>(got) : 0;
  }
  return used;
}

/// A file of sections that is all there.
class FileSections final : public SectionSource {
 public:
  FileSections(int fd, const std::string& path) : fd_(fd), path_(path) {
    struct stat status {};
    if (::fstat(fd, &status) != 0) {
      throw errno_error("cannot stat it");
    }
    size_ = static_cast<uint64_t>(status.st_size);
  }

  size_t read(std::span<std::byte> out) override {
    const size_t got = read_at(fd_, out, at_, path_);
    at_ += got;
    return got;
  }

  void pass(uint64_t bytes) override {
    if (bytes > size_ - std::min(at_, size_)) {
      throw Error("it ends inside a section", 0, "the checkpoint is incomplete");
    }
    at_ += bytes;
  }

 private:
  int fd_;
  const std::string& path_;
  uint64_t size_ = 0;
  uint64_t at_ = 0;
};

void check_padding(int fd, const std::string& path, const SectionLayout& layout) {
  const uint64_t from = layout.metadata_offset + layout.metadata_bytes;
  std::array<std::byte, kPageSize> page;
  const auto padding = std::span(page).first(layout.end_offset - from);
  if (read_at(fd, padding, from, path) != padding.size() ||
      std::any_of(padding.begin(), padding.end(), [](std::byte b) { return b != std::byte{0}; })) {
    throw Error("the padding of its metadata isn't zero", 0, kDamaged);
  }
}

Fd open_regular(int directory, const std::string& name) {
  // O_NONBLOCK: a FIFO in the place of a file must not hold the reader up.
  Fd file(::openat(directory, name.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  if (!file && errno == ENOENT) {
    throw errno_error("it has no file '{}'", name).hint(kNoCheckpoint);
  }
  if (!file) {
    throw errno_error("cannot open its file '{}'", name);
  }
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) {
    throw errno_error("cannot stat {}", name);
  }
  if (!S_ISREG(status.st_mode)) {
    throw error("{} isn't a regular file", name);
  }
  return file;
}

Fd open_metadata(int directory) {
  const auto exists = [&](const std::string& name) {
    return ::faccessat(directory, name.c_str(), F_OK, AT_SYMLINK_NOFOLLOW) == 0;
  };
  const std::string aside = kMetadataFile + std::string(".old");  // images-format/given_directory.h
  if (!exists(kMetadataFile) && exists(aside)) {
    throw Error(fmt::format("it has no file '{}', but '{}'", kMetadataFile, aside), ENOENT,
                "a dump was killed when it replaced a checkpoint; the next one there puts that back");
  }
  return open_regular(directory, kMetadataFile);
}

std::string describe(const PayloadSizes& sizes) {
  return fmt::format("{} bytes of pages in {} files",
                     std::accumulate(sizes.begin(), sizes.end(), uint64_t{0}), sizes.size());
}

/// The first file must be there; how many follow it says the closing frame, which is compared later.
std::vector<Fd> open_payload(int directory) {
  std::vector<Fd> files;
  files.push_back(open_regular(directory, payload_file(0)));
  while (files.size() < kMaxPayloadFiles &&
         ::faccessat(directory, payload_file(files.size()).c_str(), F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
    files.push_back(open_regular(directory, payload_file(files.size())));
  }
  return files;
}

}  // namespace

CheckpointImage CheckpointImage::open(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0 || S_ISDIR(status.st_mode)) {
    return open_directory(path);
  }
  const auto in_context = [&](Error e) { return std::move(e).in("checkpoint " + path); };
  // O_NONBLOCK: if it is a FIFO by now, that must not hold us up.
  Fd file(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  if (!file) {
    throw in_context(errno_error("cannot open it"));
  }
  if (::fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode)) {
    throw in_context(Error("it is neither a directory nor a file", 0, kNoCheckpoint));
  }
  return open_file(std::move(file), path);
}

CheckpointImage CheckpointImage::open_file(Fd file, const std::string& path) {
  SectionLayout layout = with_context([&] { return fmt::format("checkpoint {}", path); },
                                      [&] {
                                        FileSections sections(file.get(), path);
                                        SectionLayout found = read_layout(sections);
                                        read_end(sections, found);
                                        static_cast<void>(read_parting(sections, found));
                                        return found;
                                      });
  return open_sections(std::move(file), path, std::move(layout));
}

CheckpointImage CheckpointImage::open_sections(Fd file, const std::string& path, SectionLayout layout) {
  return with_context(
      [&] { return fmt::format("checkpoint {}", path); },
      [&] {
        check_padding(file.get(), path, layout);
        FdSource source(file.get(), path, layout.metadata_offset, layout.metadata_bytes);
        const PayloadSizes sizes = {layout.payload_bytes};
        auto pages = std::make_unique<PayloadReader>(std::move(file), path, std::move(layout));
        CheckpointImage image = read(source, std::move(pages), sizes);
        if (image.header().has_parent()) {
          throw Error("this is an incremental checkpoint, and a single file can't say where its parent is");
        }
        return image;
      });
}

CheckpointImage CheckpointImage::open_directory(const std::string& path) {
  const Fd directory(::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!directory) {
    throw errno_error("cannot open it").hint(kNoCheckpoint).in("checkpoint " + path);
  }
  return open_directory(directory.get(), path);
}

CheckpointImage CheckpointImage::open_directory(int directory, const std::string& path) {
  Uuids children;
  return open_directory(directory, path, children);
}

CheckpointImage CheckpointImage::open_directory(int directory, const std::string& path, Uuids& children) {
  return with_context([&] { return fmt::format("checkpoint {}", path); },
                      [&] {
                        const Fd metadata = open_metadata(directory);
                        auto pages = std::make_unique<PayloadReader>(open_payload(directory), path);
                        const PayloadSizes sizes = pages->sizes();
                        FdSource source(metadata.get(), path + "/" + kMetadataFile);
                        CheckpointImage image = read(source, std::move(pages), sizes);
                        if (image.header().has_parent()) {
                          image.open_parent(directory, path, children);
                        }
                        return image;
                      });
}

/// Checked as its child says: another checkpoint in that place would put other pages into the tree.
void CheckpointImage::open_parent(int directory, const std::string& path, Uuids& children) {
  const image::ParentCheckpoint& parent = header().parent();
  children.push_back(header().uuid());
  if (children.size() > kMostParents) {
    throw Error(fmt::format("more than {} checkpoints build on each other", kMostParents), 0, kDamaged);
  }
  if (std::ranges::find(children, parent.uuid()) != children.end()) {
    throw Error("it is its own parent", 0, kDamaged);
  }
  const Fd opened(::openat(directory, parent.path().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!opened) {
    throw errno_error("cannot open its parent {}", parent.path())
        .hint("an incremental checkpoint needs the one that it was made with");
  }
  const std::string parent_path =
      parent.path().starts_with('/') ? parent.path() : fmt::format("{}/{}", path, parent.path());
  CheckpointImage image = open_directory(opened.get(), parent_path, children);
  if (image.name() != CheckpointName::of(parent.uuid(), parent.closing_hash())) {
    throw Error(fmt::format("what {} has isn't the checkpoint that it was made with", parent.path()), 0,
                "put its parent there again");
  }
  validate_parent(records_, image);
  parent_ = std::make_unique<CheckpointImage>(std::move(image));
}

CheckpointImage CheckpointImage::read(ByteSource& frames, std::unique_ptr<PageSource> pages,
                                      const PayloadSizes& payload_sizes) {
  Metadata metadata = read_metadata(frames);
  if (metadata.payload_sizes != payload_sizes) {
    throw Error(fmt::format("{} were written, {} are there", describe(metadata.payload_sizes),
                            describe(payload_sizes)),
                0, kDamaged);
  }
  validate(metadata.records, payload_sizes);
  return {std::move(metadata.records), std::move(pages), metadata.closing_hash};
}

CheckpointImage::CheckpointImage(std::vector<Record> records, std::unique_ptr<PageSource> pages,
                                 uint64_t closing_hash)
    : records_(std::move(records)), pages_(std::move(pages)) {
  if (records_.empty() || records_.front().type != RecordType::Checkpoint) {
    throw Error("the first record isn't a checkpoint header", 0, kDamaged);
  }
  name_ = CheckpointName::of(header().uuid(), closing_hash);
}

const image::Checkpoint& CheckpointImage::header() const {
  return static_cast<const image::Checkpoint&>(*records_.front().message);
}

void verify_pages(const CheckpointImage& image) {
  if (image.parent() != nullptr) {
    with_context([] { return "its parent"; }, [&] { verify_pages(*image.parent()); });
  }
  std::vector<std::byte> buffer(kBlockBytes);
  for (const image::MemoryObject* object : image.all<image::MemoryObject>()) {
    with_context([&] { return fmt::format("memory object {}", object->id()); },
                 [&] {
                   for (const image::PageBlock& block : object->blocks()) {
                     // unpack_block refuses sizes that don't fit this one.
                     const size_t pages = std::min<size_t>(block.pages(), kPagesPerBlock);
                     image.pages().read_block(block, std::span(buffer).first(pages * kPageSize));
                   }
                 });
  }
}

}  // namespace godwit
