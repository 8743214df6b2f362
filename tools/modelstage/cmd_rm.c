/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rm, pin and unpin: one call for each operand; the first failure gives the exit code, the others are still
 * tried. What was removed is printed even if something else failed.
 */
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "tools/modelstage/commands.h"
#include "tools/modelstage/daemon.h"
#include "tools/modelstage/output.h"
#include "tools/modelstage/table.h"

static void keep_first(int *exit_code, int code) {
        if (*exit_code == CLI_DONE)
                *exit_code = code;
}

struct removal {
        const struct args *args;
        json_t *list;
        struct table *table;
};

static void add_removed(struct removal *r, const char *reference, const Modelstage__V1__RemoveResponse *m) {
        json_t *item = cli_must(json_object());

        output_set(item, "reference", output_text(reference));
        output_set(item, "digest", output_text(m->digest));
        output_set(item, "freed", json_integer(m->freed));
        json_array_append_new(r->list, item);
        table_cell(r->table, reference);
        table_short_digest(r->table, m->digest);
        table_size(r->table, m->freed > 0 ? (uint64_t)m->freed : 0);
        if (args_has(r->args, ARG_BIT(QUIET)))
                printf("%s\n", m->digest);
}

static void print_removed(struct removal *r) {
        if (args_has(r->args, ARG_BIT(QUIET)))
                return;
        if (r->args->output == ARG_OUTPUT_JSON)
                output_json(json_incref(r->list));
        else if (json_array_size(r->list) > 0)
                table_print(r->table, stdout);
}

int cmd_rm(const struct args *a) {
        static const char *const headers[] = { "REFERENCE", "DIGEST", ">FREED", NULL };
        _cleanup_daemon_ struct daemon d = { 0 };
        int exit_code = daemon_open(&d, a);

        if (exit_code != 0)
                return exit_code;
        struct removal removal = { a, cli_must(json_array()), table_new(headers) };
        for (size_t i = 0; i < a->n_operands; i++) {
                Modelstage__V1__RemoveRequest req = MODELSTAGE__V1__REMOVE_REQUEST__INIT;
                _cleanup_message_ ProtobufCMessage *reply = NULL;
                struct error e = { 0 };
                req.reference = (char *)a->operands[i];
                if (daemon_call(&d, "Remove", &req.base, &modelstage__v1__remove_response__descriptor, &reply,
                                &e) < 0)
                        keep_first(&exit_code, daemon_fail(&d, &e));
                else
                        add_removed(&removal, a->operands[i], (const void *)reply);
        }
        print_removed(&removal);
        table_free(removal.table);
        json_decref(removal.list);
        return exit_code;
}

static int pin_all(const struct args *a, bool pin) {
        _cleanup_daemon_ struct daemon d = { 0 };
        int exit_code = daemon_open(&d, a);

        if (exit_code != 0)
                return exit_code;
        for (size_t i = 0; i < a->n_operands; i++) {
                Modelstage__V1__PinRequest req = MODELSTAGE__V1__PIN_REQUEST__INIT;
                _cleanup_message_ ProtobufCMessage *reply = NULL;
                struct error e = { 0 };
                req.reference = (char *)a->operands[i];
                req.pin = pin;
                if (daemon_call(&d, "Pin", &req.base, &modelstage__v1__pin_response__descriptor, &reply, &e) <
                    0)
                        keep_first(&exit_code, daemon_fail(&d, &e));
        }
        return exit_code;
}

int cmd_pin(const struct args *a) {
        return pin_all(a, true);
}

int cmd_unpin(const struct args *a) {
        return pin_all(a, false);
}
