#pragma once

#include <functional>

#include "images-format/descriptor.pb.h"
#include "images-format/record.h"

namespace godwit {

/// The open file descriptions that a record makes: those in its fields, and in the fields of its parts
/// (the ends of a pipe). One that should be there and isn't is visited as an empty one, with the id 0.
/// Works for every kind, also one that is added later.
void for_each_open_file(const Record& record, const std::function<void(const image::OpenFile&)>& visit);

}  // namespace godwit
