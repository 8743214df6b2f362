/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Adding a command: a line here, a cmd_NAME() in a file of its own. --help, modelstage(1) and the completions
 * follow. The texts are paragraphs separated by an empty line; help.c breaks them.
 */
#include "tools/modelstage/commands.h"

#include <string.h>

#define MANY 4096 /* operands; more is a mistake of a script */
#define SELECTION (ARG_BIT(INCLUDE) | ARG_BIT(EXCLUDE) | ARG_BIT(ROOT) | ARG_BIT(PLATFORM))
#define RESULT (ARG_BIT(OUTPUT) | ARG_BIT(QUIET))
#define DIRECT (ARG_BIT(CONFIG) | ARG_BIT(PLAIN_HTTP) | ARG_BIT(CA_FILE))

const struct command commands[] = {
        { "warm",
          "REF...",
          { OPERAND_REFERENCE, OPERAND_REFERENCE },
          1,
          MANY,
          ARG_BIT(SOCKET) | RESULT | SELECTION | ARG_BIT(PULL) | ARG_BIT(PIN) | ARG_BIT(TTL) |
              ARG_BIT(DETACH) | ARG_BIT(DOCKER_CONFIG),
          cmd_warm,
          "stage models into this node's cache",
          "Asks the daemon to stage each model and waits until all are ready. Several models are staged at "
          "the same time. "
          "On a terminal, bars show the blobs in work; elsewhere a line a second tells how far it is. "
          "Staging goes on in "
          "the daemon when this command is interrupted.\n"
          "\n"
          "The result says how a model came to be ready: hit (it was here), miss (it was fetched for this "
          "request) or "
          "joined (it was being fetched already).",
          "modelstage warm registry.example.com/models/llama:3.1-8b\n"
          "modelstage warm --pin --include '*.safetensors' --include '*.json' ghcr.io/acme/mistral:7b" },
        { "ls",
          "",
          { OPERAND_NONE, OPERAND_NONE },
          0,
          0,
          ARG_BIT(SOCKET) | RESULT,
          cmd_ls,
          "list the models of this node",
          "Models in the cache, and jobs that are running or have failed in the last minutes.",
          "modelstage ls\nmodelstage ls -o json | jq -r '.[] | select(.mounts == 0).reference'" },
        { "status",
          "",
          { OPERAND_NONE, OPERAND_NONE },
          0,
          0,
          ARG_BIT(SOCKET) | ARG_BIT(OUTPUT) | ARG_BIT(WATCH) | ARG_BIT(HOSTS),
          cmd_status,
          "show the jobs that run, and what is known of registries",
          "One line a job: how far it is, how fast, from where. Jobs that failed stay for some minutes. With "
          "--watch and -o json each update is an "
          "array on a line "
          "of its own.\n"
          "\n"
          "Below the jobs, and alone with --hosts: one line for each host that blobs have come from. RANGES "
          "says "
          "whether it honours requests for ranges (ignored or broken: a blob is one request), BEST how many "
          "connections were worth it, with the rate that they had, LIMIT how many it let us have before it "
          "refused more, LATENCY how long it takes to the first byte.",
          "modelstage status --watch\n"
          "modelstage status --hosts -o json" },
        { "inspect",
          "REF",
          { OPERAND_REFERENCE, OPERAND_NONE },
          1,
          1,
          ARG_BIT(SOCKET) | RESULT | SELECTION | ARG_BIT(REMOTE) | ARG_BIT(DOCKER_CONFIG) | DIRECT,
          cmd_inspect,
          "show what a model consists of",
          "Format, layers, annotations and files of a model in the cache, and a summary of its safetensors "
          "and GGUF "
          "headers: parameters and types.\n"
          "\n"
          "With --remote the registry is asked instead, without a daemon and without fetching the model; "
          "files inside "
          "archives are not known then.",
          "modelstage inspect ghcr.io/acme/mistral:7b\n"
          "modelstage inspect --remote -o json ghcr.io/acme/mistral:7b" },
        { "mount",
          "REF DIR",
          { OPERAND_REFERENCE, OPERAND_DIRECTORY },
          2,
          2,
          ARG_BIT(SOCKET) | RESULT | SELECTION | ARG_BIT(PULL) | ARG_BIT(DOCKER_CONFIG),
          cmd_mount,
          "mount a model read-only, as a pod gets it",
          "Stages the model if it is not here and mounts it on DIR, which is made if it is missing. The "
          "mount holds the "
          "model in the cache until modelstage umount.",
          "modelstage mount ghcr.io/acme/mistral:7b /mnt/mistral" },
        { "umount",
          "DIR",
          { OPERAND_DIRECTORY, OPERAND_NONE },
          1,
          1,
          ARG_BIT(SOCKET),
          cmd_umount,
          "undo modelstage mount",
          "Unmounts DIR and leaves the directory. Volumes of pods are not touched: they are "
          "kubelet's.",
          "modelstage umount /mnt/mistral" },
        { "fetch",
          "REF DIR",
          { OPERAND_REFERENCE, OPERAND_DIRECTORY },
          2,
          2,
          RESULT | SELECTION | ARG_BIT(DOCKER_CONFIG) | ARG_BIT(FORCE) | DIRECT,
          cmd_fetch,
          "fetch a model into a directory, without a daemon",
          "The same engine as the daemon's, for init containers and CI: needs neither root nor a running "
          "modelstaged. "
          "Files appear in DIR when all of them are complete and verified. While it works, a directory "
          ".modelstage-XXXXXX in "
          "DIR has what is on its way; it is removed at the end, also when the command is interrupted.",
          "modelstage fetch registry.example.com/models/llama:3.1-8b /models/llama" },
        { "rm",
          "REF...",
          { OPERAND_REFERENCE, OPERAND_REFERENCE },
          1,
          MANY,
          ARG_BIT(SOCKET) | RESULT,
          cmd_rm,
          "remove models from the cache",
          "REF is a reference or a digest (sha256:..., or its first digits). A reference is what it meant "
          "when "
          "it was last "
          "resolved, with every selection; what its tag meant before is named by digest. A model that is "
          "mounted "
          "is not "
          "removed; data "
          "that another model shares stays.",
          "modelstage rm ghcr.io/acme/mistral:7b" },
        { "pin",
          "REF...",
          { OPERAND_REFERENCE, OPERAND_REFERENCE },
          1,
          MANY,
          ARG_BIT(SOCKET),
          cmd_pin,
          "never evict these models",
          "A pinned model stays until modelstage unpin or modelstage rm.",
          NULL },
        { "unpin",
          "REF...",
          { OPERAND_REFERENCE, OPERAND_REFERENCE },
          1,
          MANY,
          ARG_BIT(SOCKET),
          cmd_unpin,
          "let these models be evicted again",
          "Undoes modelstage pin and modelstage warm --pin.",
          NULL },
        { "df",
          "",
          { OPERAND_NONE, OPERAND_NONE },
          0,
          0,
          ARG_BIT(SOCKET) | ARG_BIT(OUTPUT),
          cmd_df,
          "show the cache's disk space",
          "What the cache may use, uses, has promised to running jobs and can still take, and what sharing "
          "layers between "
          "models saves.",
          NULL },
        { "version",
          "",
          { OPERAND_NONE, OPERAND_NONE },
          0,
          0,
          ARG_BIT(SOCKET) | ARG_BIT(OUTPUT),
          cmd_version,
          "print the versions of the program and the daemon",
          "The daemon's is left out when it cannot be reached.",
          NULL },
        { "help",
          "[COMMAND]",
          { OPERAND_COMMAND, OPERAND_NONE },
          0,
          1,
          ARG_BIT(MAN),
          cmd_help,
          "explain a command",
          "Without COMMAND, lists the commands.",
          NULL },
        { "completion",
          "bash|zsh",
          { OPERAND_SHELL, OPERAND_NONE },
          1,
          1,
          0,
          cmd_completion,
          "print the completions for a shell",
          "For bash, source the output; for zsh, save it as _modelstage in a directory of $fpath. Packages "
          "install both.",
          "source <(modelstage completion bash)" },
        { .name = NULL },
};

const struct command *command_find(const char *name) {
        for (const struct command *c = commands; c->name; c++)
                if (strcmp(c->name, name) == 0)
                        return c;
        return NULL;
}
