# For GNU make and BSD make alike; the work is in tools/*.sh.

PREFIX = /usr/local
MANDIR = $(PREFIX)/share/man
BIN = target/release/brig
SHIM = target/release/containerd-shim-brig-v1

build:
	tools/build.sh

deps:
	tools/deps.sh

demo:
	tools/demo.sh

test:
	tools/test.sh

# podman, buildah and containerd drive brig: Linux, as root.
test-engines:
	tools/test-engines.sh

# Images by skopeo, umoci, podman, buildah and containerd: Linux, as root.
test-images:
	tools/test-images.sh

# The specification's suite, as root; RUNTIME=runc holds another one to it. On
# FreeBSD natively, or in a guest by vm-test.
conformance:
	RUNTIME="$(RUNTIME)" tools/conformance.sh

# Breaks the runtime in one way after the other: which cases notice?
conformance-selftest:
	RUNTIME="$(RUNTIME)" tools/conformance.sh --self-test --jobs 8

shim:
	tools/build-shim.sh

check: fmt lint test

fmt:
	cargo fmt --all --check

lint:
	tools/lint.sh

cross:
	tools/cross.sh

cross-lint:
	tools/cross.sh lint

# IMAGE=disk.qcow2 (or .raw, .xz), or KERNEL=file with ROOT=file.raw; and
# FREEBSD_SYSROOT=DIR, to link statically against
vm-test:
	IMAGE="$(IMAGE)" KERNEL="$(KERNEL)" ROOT="$(ROOT)" tools/vm-test.sh

# The program is built as a user may; installing it builds nothing.
install:
	test -x $(BIN) || { echo "build it first: make" >&2; exit 1; }
	mkdir -p $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(MANDIR)/man8
	mkdir -p $(DESTDIR)$(PREFIX)/share/brig/examples
	install -m 755 $(BIN) $(DESTDIR)$(PREFIX)/bin/brig
	install -m 644 man/*.8 $(DESTDIR)$(MANDIR)/man8/
	install -m 755 tools/make-rootfs $(DESTDIR)$(PREFIX)/share/brig/make-rootfs
	tar -C bundles --exclude rootfs --exclude linux-rootfs --exclude hooks.log -cf - . | tar -C $(DESTDIR)$(PREFIX)/share/brig/examples -xof -
	mkdir -p $(DESTDIR)$(PREFIX)/share/brig/examples/engines
	tar -C examples/engines -cf - . | tar -C $(DESTDIR)$(PREFIX)/share/brig/examples/engines -xof -

# containerd's shim, built by: make shim
install-shim:
	test -x $(SHIM) || { echo "build it first: make shim" >&2; exit 1; }
	mkdir -p $(DESTDIR)$(PREFIX)/bin
	install -m 755 $(SHIM) $(DESTDIR)$(PREFIX)/bin/containerd-shim-brig-v1

clean:
	cargo clean

.PHONY: build deps demo test test-engines test-images conformance conformance-selftest shim install-shim check fmt lint cross cross-lint vm-test install clean
