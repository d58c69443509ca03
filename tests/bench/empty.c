/* What it costs to start and end any dynamically linked program: the limit of a command that does nothing. */
int main(void) { return 0; }
