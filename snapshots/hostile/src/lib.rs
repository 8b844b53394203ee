//! Losses that misbehave, one file each.

retort_sdk::losses! {
    bank::Bank,
    bare_root::BareRoot,
    chatty::Chatty,
    endless::Endless,
    good::Good,
    huge::Huge,
    hungry::Hungry,
    late::Late,
    looping::Looping,
    lying::Lying,
    nan::Nan,
    ordered::Ordered,
    panics::Panics,
    remembering::Remembering,
    shapes::Shapes,
    silent::Silent,
    stale::Stale,
    vector::Vector,
}
