//! The losses that retort ships, one file each.

retort_sdk::losses! {
    proxy_anchor::ProxyAnchor,
    relaxed_contrastive::RelaxedContrastive,
    rkd::Rkd,
}
