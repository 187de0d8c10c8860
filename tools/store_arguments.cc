#include "store_arguments.h"

namespace oncelog::tool {
namespace {

Options common_options(const StoreArguments& arguments) {
  Options options;
  options.retention = arguments.retention;
  options.buckets = arguments.buckets;
  options.live_dir = arguments.live_dir;
  if (arguments.expected_ids) options.expected_ids = *arguments.expected_ids;
  if (arguments.flush_interval) options.flush_interval = *arguments.flush_interval;
  return options;
}

}  // namespace

Store open_for_marks(const StoreArguments& arguments) {
  Options options = common_options(arguments);
  options.ack = arguments.ack;
  return Store::open(arguments.directory, options);
}

Store open_existing(const StoreArguments& arguments) {
  Options options = common_options(arguments);
  options.create = false;
  return Store::open(arguments.directory, options);
}

Store open_for_reading(const StoreArguments& arguments) {
  Options options = common_options(arguments);
  options.create = false;
  options.read_only = true;
  return Store::open(arguments.directory, options);
}

}  // namespace oncelog::tool
