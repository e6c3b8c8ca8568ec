/*
 * Rust's std finds environ(7) on FreeBSD by dlsym(3), from 1.96 on, and the
 * dlsym of a static libc is a weak one that finds nothing: std would read
 * through a null pointer as soon as the environment is used.
 */
extern char **environ;

void *
dlsym(void *handle, const char *name)
{
	static const char known[] = "environ";
	unsigned i;

	(void)handle;
	for (i = 0; name[i] == known[i]; i++)
		if (known[i] == '\0')
			return (&environ);
	return (0);
}
