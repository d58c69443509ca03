#pragma once

#include <memory>

#include "dump/dump.h"
#include "dump/memory.h"
#include "images-format/checkpoint_writer.h"

/// What all kinds of dumps do alike, before they freeze anything and when they report.
namespace godwit {

/// CPUs that this process may use, at least 1.
[[nodiscard]] unsigned usable_cpus();

/// A tree can have more tasks and shared memory than the usual limit has descriptors.
void raise_descriptor_limit();

/// Where `options` says. Throws Error, also for what can't be had together.
[[nodiscard]] std::unique_ptr<CheckpointWriter> make_writer(const DumpOptions& options,
                                                            const DumpCallbacks& callbacks);

void report_totals(const MemoryCopier::Totals& totals, DumpReport& report);

}  // namespace godwit
