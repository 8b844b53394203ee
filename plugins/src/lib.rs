//! The losses that retort ships, one file each.

retort_sdk::losses! {
    // Transfer.
    relaxed_contrastive::RelaxedContrastive,
    relaxed_ms::RelaxedMs,
    rkd::Rkd,
    rkd_distance::RkdDistance,
    rkd_angle::RkdAngle,
    pkt::Pkt,
    darkrank::Darkrank,
    attention::Attention,
    fitnet::Fitnet,
    crd::Crd,
    crd_batch::CrdBatch,
    similarity_preserving::SimilarityPreserving,
    vid::Vid,
    embedding_regression::EmbeddingRegression,
    dist::Dist,
    // Metric learning.
    proxy_anchor::ProxyAnchor,
    proxy_nca::ProxyNca,
    proxy_nca_pp::ProxyNcaPp,
    soft_triple::SoftTriple,
    multi_similarity::MultiSimilarity,
    circle::Circle,
    contrastive::Contrastive,
    supcon::Supcon,
    triplet::Triplet,
    n_pair::NPair,
    cross_entropy::CrossEntropy,
    arcface::Arcface,
}
