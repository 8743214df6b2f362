/* SPDX-License-Identifier: Apache-2.0 */
/*
 * signals: SIGINT, SIGTERM, SIGHUP and SIGQUIT end the program, but not with a hidden cursor, and not before
 * a command that must clean up has done so. A second one ends it at once.
 */
#pragma once

/* From here on the first of these signals is only remembered; for commands that look at signals_caught(). */
void signals_defer(void);
int signals_caught(void); /* its number, or 0 */
/* Does what the caught signal would have done. Returns only if there was none. */
void signals_raise(void);

/* A last line for stderr when a signal ends the program; a literal, or NULL: none any more. */
void signals_set_farewell(const char *text);

/* The cursor of the terminal on stderr is (not) hidden: a signal that ends the program shows it. */
void signals_hide_cursor(void);
void signals_show_cursor(void);
