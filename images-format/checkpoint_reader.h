#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "images-format/byte_source.h"
#include "images-format/checkpoint.pb.h"
#include "images-format/checkpoint_name.h"
#include "images-format/page_store.h"
#include "images-format/record.h"
#include "images-format/section.h"
#include "kernel/fd.h"

namespace godwit {

/// A whole checkpoint without its pages, read and validated: frame checksums, the closing frame, sizes,
/// and every reference from record to record (see validate.h). Pages are checked as they are read. An
/// incremental checkpoint comes with its parent, the parent's parent, and so on: images-format/parent.h.
class CheckpointImage {
 public:
  /// A directory or a file. Throws Error for anything that isn't a complete, well-formed checkpoint of a
  /// known version.
  [[nodiscard]] static CheckpointImage open(const std::string& path);

  [[nodiscard]] static CheckpointImage open_directory(const std::string& path);

  /// The same of a directory that the caller holds open (O_PATH suffices). `path` stands in errors.
  [[nodiscard]] static CheckpointImage open_directory(int directory, const std::string& path);

  /// The same of one file: `file` may be read anywhere.
  [[nodiscard]] static CheckpointImage open_file(Fd file, const std::string& path);

  /// The same of a file of which `layout` says what is where, and in which nothing stands behind that.
  [[nodiscard]] static CheckpointImage open_sections(Fd file, const std::string& path, SectionLayout layout);

  /// The same from any source: `frames` has the metadata, `pages` the payload, whose files are so long.
  [[nodiscard]] static CheckpointImage read(ByteSource& frames, std::unique_ptr<PageSource> pages,
                                            const PayloadSizes& payload_sizes);

  [[nodiscard]] const image::Checkpoint& header() const;
  [[nodiscard]] const std::vector<Record>& records() const { return records_; }
  /// Of its own blocks.
  [[nodiscard]] const PageSource& pages() const { return *pages_; }
  [[nodiscard]] const CheckpointName& name() const { return name_; }
  /// Null: it is whole by itself.
  [[nodiscard]] const CheckpointImage* parent() const { return parent_.get(); }

  /// All records of one message type, in the order of the image.
  template <typename Message>
  [[nodiscard]] std::vector<const Message*> all() const {
    std::vector<const Message*> found;
    const RecordType type = record_type_of(Message::default_instance());
    for (const Record& record : records_) {
      if (record.type == type) {
        found.push_back(static_cast<const Message*>(record.message.get()));
      }
    }
    return found;
  }

  /// For unit tests: takes records as they are, unvalidated. The first is an image::Checkpoint, else Error.
  CheckpointImage(std::vector<Record> records, std::unique_ptr<PageSource> pages, uint64_t closing_hash = 0);

 private:
  using Uuids = std::vector<std::string>;  // of a checkpoint's children
  static CheckpointImage open_directory(int directory, const std::string& path, Uuids& children);
  void open_parent(int directory, const std::string& path, Uuids& children);

  std::vector<Record> records_;
  std::unique_ptr<PageSource> pages_;
  CheckpointName name_;
  std::unique_ptr<CheckpointImage> parent_;
};

/// Reads every page block too, also of parents. Throws Error at the first thing wrong. For `godwit verify`.
void verify_pages(const CheckpointImage& image);

}  // namespace godwit
