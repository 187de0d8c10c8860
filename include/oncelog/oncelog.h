#pragma once

/// All of oncelog: an embedded log of processed messages for consumers that get messages at least once.

#include <oncelog/backup.h>
#include <oncelog/claim.h>
#include <oncelog/error.h>
#include <oncelog/event.h>
#include <oncelog/metrics.h>
#include <oncelog/options.h>
#include <oncelog/record.h>
#include <oncelog/repair.h>
#include <oncelog/scope.h>
#include <oncelog/store.h>
#include <oncelog/topic.h>
#include <oncelog/transaction.h>
#include <oncelog/verify.h>
#include <oncelog/version.h>
