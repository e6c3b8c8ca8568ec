//! Reads fuzzed image layouts: the index, manifests, configurations, and the
//! list of a docker archive.
#![no_main]

use brig_fuzz::documents;
use brig_fuzz::image::layout::Layout;
use brig_fuzz::image::platform::Platform;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Ok(layout) = Layout::of(documents::store(input), "fuzzed".into()) else {
        return;
    };
    let platforms = [Platform::new("linux", "amd64"), Platform::new("freebsd", "arm64")];
    for name in [None, Some("latest"), Some("busybox:1")] {
        if let Ok(image) = layout.find(name, &platforms) {
            assert_eq!(image.layers.len(), image.config.rootfs().diff_ids().len());
        }
    }
    let _ = layout.list(None);
});
