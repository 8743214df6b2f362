/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inspection: prints what a model consists of, whether the daemon told it or the registry: for people, or as
 * JSON with -o json, or its digest alone with -q.
 */
#pragma once

#include "proto/modelstage.pb-c.h"
#include "tools/modelstage/args.h"

void inspection_print(const Modelstage__V1__InspectResponse *m, const struct args *a);
