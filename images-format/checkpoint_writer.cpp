#include "images-format/checkpoint_writer.h"

#include <sys/random.h>

#include <numeric>

#include "images-format/checkpoint.pb.h"
#include "images-format/checkpoint_output.h"
#include "images-format/frame.h"
#include "images-format/given_directory.h"
#include "images-format/partial_directory.h"
#include "images-format/payload.h"
#include "kernel/error.h"

namespace godwit {

namespace {

std::string random_uuid() {
  std::string uuid(16, '\0');
  if (::getrandom(uuid.data(), uuid.size(), 0) != static_cast<ssize_t>(uuid.size())) {
    throw errno_error("cannot get random bytes");
  }
  return uuid;
}

/// The header with what the writer itself knows.
image::Checkpoint complete_header(image::Checkpoint header) {
  header.set_format_version(kFormatVersion);
  header.set_page_size(kPageSize);
  header.set_godwit_version(GODWIT_VERSION);
  if (header.uuid().empty()) {
    header.set_uuid(random_uuid());
  }
  return header;
}

class Writer final : public CheckpointWriter {
 public:
  explicit Writer(std::unique_ptr<CheckpointOutput> output) : output_(std::move(output)) {}

  void add(const google::protobuf::Message& record) override {
    const RecordType type = record_type_of(record);
    if ((type == RecordType::Checkpoint) == has_header_ || type == RecordType::Closing) {
      throw error("a {} record can't stand here in a checkpoint", record.GetDescriptor()->name());
    }
    if (type == RecordType::Checkpoint) {
      const image::Checkpoint header = complete_header(static_cast<const image::Checkpoint&>(record));
      uuid_ = header.uuid();
      frames_.add(header);
      has_header_ = true;
      return;
    }
    if (type == RecordType::MemoryObject) {
      count_blocks(static_cast<const image::MemoryObject&>(record));
    }
    frames_.add(record);
  }

  PageSink& pages() override { return output_->pages(); }

  void commit() override {
    if (!has_header_) {
      throw error("the checkpoint has no header");
    }
    // Readers refuse pages that no index mentions: say so while the tree still lives.
    const PayloadSizes sizes = output_->sizes();
    const uint64_t written = std::accumulate(sizes.begin(), sizes.end(), uint64_t{0});
    if (indexed_bytes_ != written) {
      throw error("{} bytes of pages were written, but {} are indexed", written, indexed_bytes_);
    }
    output_->finish(frames_.close(sizes));
  }

  [[nodiscard]] CheckpointName name() const override {
    return CheckpointName::of(uuid_, frames_.last_checksum());
  }
  void retract() noexcept override { output_->retract(); }
  void part() noexcept override { output_->part(); }

 private:
  void count_blocks(const image::MemoryObject& object) {
    for (const image::PageBlock& block : object.blocks()) {
      indexed_bytes_ += padded_bytes(block.stored_bytes());
    }
  }

  bool has_header_ = false;
  std::string uuid_;
  uint64_t indexed_bytes_ = 0;
  std::unique_ptr<CheckpointOutput> output_;
  FrameWriter frames_;
};

/// `what` is named in front of what goes wrong.
template <typename MakeOutput>
std::unique_ptr<CheckpointWriter> make_writer(const std::string& what, MakeOutput make_output) {
  return with_context([&] { return fmt::format("checkpoint {}", what); },
                      [&] { return std::make_unique<Writer>(make_output()); });
}

}  // namespace

std::unique_ptr<CheckpointWriter> CheckpointWriter::create_directory(const std::string& path,
                                                                     const WriterOptions& options) {
  return make_writer(path,
                     [&] { return output_to_directory(std::make_unique<PartialDirectory>(path), options); });
}

std::unique_ptr<CheckpointWriter> CheckpointWriter::create_in_directory(int directory,
                                                                        const std::string& path,
                                                                        const WriterOptions& options) {
  return make_writer(
      path, [&] { return output_to_directory(std::make_unique<GivenDirectory>(directory, path), options); });
}

std::unique_ptr<CheckpointWriter> CheckpointWriter::create_file(const std::string& path,
                                                                const WriterOptions& options) {
  return make_writer(path, [&] { return output_to_file(path, options); });
}

std::unique_ptr<CheckpointWriter> CheckpointWriter::create_stream(int fd, const std::string& name,
                                                                  const WriterOptions& options) {
  return make_writer(name, [&] { return output_to_stream(fd, name, options); });
}

}  // namespace godwit
