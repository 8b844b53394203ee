//! Losses that misbehave, one file each.

retort_sdk::losses! {
    chatty::Chatty,
    bank::Bank,
    endless::Endless,
    good::Good,
    huge::Huge,
    hungry::Hungry,
    late::Late,
    nan::Nan,
    panics::Panics,
    shapes::Shapes,
    stale::Stale,
    vector::Vector,
}
