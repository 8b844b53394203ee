//! Recent losses of embedding transfer and retrieval, one file each: a second pack, beside the one that
//! retort carries.

mod asymmetric;
mod eigen;
mod hadamard;
mod poincare;
mod ranking;

retort_sdk::losses! {
    // Transfer to a network whose embeddings are searched with the source's.
    aml::Aml,
    csd::Csd,
    rop::Rop,
    d3still::D3still,
    raml::Raml,
    bct::Bct,
    fct::Fct,
    // Transfer of embeddings and of their geometry.
    embed_distill::EmbedDistill,
    jasper::Jasper,
    phi_s::PhiS,
    unic::Unic,
    stml::Stml,
    s2sd::S2sd,
    matryoshka_cos::MatryoshkaCos,
    barlow::Barlow,
    vicreg::Vicreg,
    cka::Cka,
    procrustes::Procrustes,
    whiten::Whiten,
    sinkhorn::Sinkhorn,
    sliced_wasserstein::SlicedWasserstein,
    // Transfer of rankings.
    list_net::ListNet,
    approx_ndcg::ApproxNdcg,
    soft_spearman::SoftSpearman,
    // Metric learning.
    smooth_ap::SmoothAp,
    roadmap::Roadmap,
    happier::Happier,
    recall_at_k::RecallAtK,
    contextual::Contextual,
    matryoshka_ce::MatryoshkaCe,
    hyp_contrastive::HypContrastive,
    hier::Hier,
}
