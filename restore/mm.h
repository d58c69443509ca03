#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "images-format/checkpoint_reader.h"
#include "images-format/mm.pb.h"
#include "images-format/page_store.h"
#include "parasite/script_builder.h"
#include "plan/plan.h"
#include "restore/file.h"
#include "restore/region.h"
#include "restore/vdso.h"

namespace godwit {

/// The runs of each MemoryObject, decoded once.
using RunsByObject = std::map<uint64_t, std::vector<PageRun>>;

/// What the layout of address spaces needs to know.
struct LayoutContext {
  const Plan& plan;
  const RunsByObject& runs;
  const FileOpener& files;
  const std::map<uint32_t, int>& shared_memory;  // SharedMemory id: descriptor that every task inherits
  const Vdso& vdso;
  const Region& region;
};

/// The first node only: parks the vdso in the region and throws the coordinator's memory away.
void emit_clear_address_space(ScriptBuilder& script, const LayoutContext& context);

/// Emits a node's mappings, at their addresses, private ones with contents still writable. What the parent
/// shares copy-on-write is there already (stage Filled); the rest of what was inherited goes.
void emit_layout(ScriptBuilder& script, const PlannedNode& node, const LayoutContext& context);

/// Emits what has to wait until the memory is filled and children are cloned: locks, advice, protections.
void emit_finish_layout(ScriptBuilder& script, const PlannedNode& node, const LayoutContext& context);

}  // namespace godwit
