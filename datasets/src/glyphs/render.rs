//! Draws glyphs: strokes are polylines, a pixel is covered by its distance to them.

use rand::{Rng, RngExt};
use rand_chacha::ChaCha8Rng;

use crate::Image;
use crate::random::{Purpose, stream};

type Point = [f32; 2];
type Colour = [f32; 3];

/// A polyline, in a square from -1 to 1.
struct Stroke {
    points: Vec<Point>,
    /// Relative to the instance's pen.
    width: f32,
}

/// Instance `instance` of class `class`, `size` pixels wide and high.
pub(super) fn draw(seed: u64, class: u64, instance: u64, size: usize) -> Image {
    let glyph = glyph(&mut stream(Purpose::GlyphClass, [seed, class, 0, 0]));
    let rng = &mut stream(Purpose::GlyphInstance, [seed, class, instance, 0]);

    let strokes = pose(glyph, rng);
    let pen = between(rng, 0.045, 0.095);
    let ground = Ground::new(rng);
    let ink = ground.ink(rng);
    let shade = Ramp::new(rng, 0.15);
    let scratches: Vec<Stroke> = (0..rng.random_range(0..3)).map(|_| scratch(rng)).collect();
    let scratch_colour = mix(ground.mean(), ink, between(rng, 0.2, 0.5));
    let noise = between(rng, 3.0, 14.0);

    let mut pixels = vec![0; size * size * 3];
    rng.fill_bytes(&mut pixels);
    let step = 2.0 / size as f32;
    for (i, pixel) in pixels.chunks_exact_mut(3).enumerate() {
        let p = [(i % size) as f32, (i / size) as f32].map(|x| (x + 0.5) * step - 1.0);
        let cover = |strokes: &[Stroke], pen: f32| {
            let distance = |stroke: &Stroke| stroke.distance(p) - pen * stroke.width;
            let nearest = strokes.iter().map(distance).fold(f32::MAX, f32::min);
            (0.5 - nearest / step).clamp(0.0, 1.0)
        };
        let colour = mix(ground.at(p), scratch_colour, cover(&scratches, 0.6 * pen));
        let colour = mix(colour, ink.map(|ink| ink + shade.at(p)), cover(&strokes, pen));
        for (value, colour) in pixel.iter_mut().zip(colour) {
            let grain = (f32::from(*value) / 127.5 - 1.0) * noise;
            *value = (colour * 255.0 + grain + 0.5).clamp(0.0, 255.0) as u8;
        }
    }
    Image { width: size, height: size, channels: 3, pixels }
}

/// The strokes that define a class: lines, bends, bows, rings and dots between the 16 points of a
/// grid, about half of them beginning where the last one ended.
fn glyph(rng: &mut ChaCha8Rng) -> Vec<Stroke> {
    let mut pen = anchor(rng);
    let strokes = rng.random_range(3..=4);
    let mut stroke = || {
        if rng.random_bool(0.5) {
            pen = anchor(rng);
        }
        let start = pen;
        let kind = rng.random_range(0..10);
        let far = |rng: &mut ChaCha8Rng, from: &[Point]| loop {
            let point = anchor(rng);
            if from.iter().all(|&other| length(sub(point, other)) > 0.5) {
                return point;
            }
        };
        let (points, width) = match kind {
            0..=2 => (vec![start, far(rng, &[start])], 1.0),
            3..=4 => {
                let corner = far(rng, &[start]);
                (vec![start, corner, far(rng, &[start, corner])], 1.0)
            }
            5..=7 => {
                let bend = far(rng, &[start]);
                (bow(start, bend, far(rng, &[start, bend])), 1.0)
            }
            8 => (ring(start.map(|x| 0.7 * x), between(rng, 0.2, 0.45)), 1.0),
            _ => (vec![anchor(rng); 2], 2.2),
        };
        if let (0..=7, Some(&end)) = (kind, points.last()) {
            pen = end;
        }
        Stroke { points, width }
    };
    (0..strokes).map(|_| stroke()).collect()
}

/// One of 4 x 4 points.
fn anchor(rng: &mut ChaCha8Rng) -> Point {
    [0, 1].map(|_| rng.random_range(0..4) as f32 * 0.5 - 0.75)
}

/// A quadratic Bézier curve in 8 pieces.
fn bow(start: Point, bend: Point, end: Point) -> Vec<Point> {
    let at = |i| {
        let t = i as f32 / 8.0;
        lerp(lerp(start, bend, t), lerp(bend, end, t), t)
    };
    (0..=8).map(at).collect()
}

/// A circle in 12 pieces.
fn ring(centre: Point, radius: f32) -> Vec<Point> {
    const UNIT: [f32; 12] = [
        1.0,
        0.866_025_4,
        0.5,
        0.0,
        -0.5,
        -0.866_025_4,
        -1.0,
        -0.866_025_4,
        -0.5,
        0.0,
        0.5,
        0.866_025_4,
    ];
    let at =
        |i: usize| [centre[0] + radius * UNIT[i % 12], centre[1] + radius * UNIT[(i + 9) % 12]];
    (0..=12).map(at).collect()
}

/// The strokes as this hand draws them: wobbly, turned, slanted, resized and moved.
fn pose(mut strokes: Vec<Stroke>, rng: &mut ChaCha8Rng) -> Vec<Stroke> {
    // (1 - t²)/(1 + t²) and 2t/(1 + t²) are cosine and sine of 2 arctan t: up to 14 degrees.
    let t = either(rng, 0.12);
    let (cos, sin) = ((1.0 - t * t) / (1.0 + t * t), 2.0 * t / (1.0 + t * t));
    let slant = either(rng, 0.15);
    let scale = between(rng, 0.7, 1.0);
    let [wide, high] = [0, 1].map(|_| scale * between(rng, 0.85, 1.15));
    let shift = [0, 1].map(|_| either(rng, 0.12));
    let wobble = [0, 1].map(|_| Texture::new(rng));
    let amount = between(rng, 0.04, 0.14);
    for stroke in &mut strokes {
        stroke.width *= between(rng, 0.8, 1.25);
        let slip = [0, 1].map(|_| either(rng, 0.06));
        for point in &mut stroke.points {
            let bent = [0, 1].map(|i| point[i] + slip[i] + amount * wobble[i].at(*point, 1.2));
            let [x, y] = [wide * (bent[0] + slant * bent[1]), high * bent[1]];
            *point = [cos * x - sin * y + shift[0], sin * x + cos * y + shift[1]];
        }
    }
    strokes
}

/// A short line that belongs to no glyph.
fn scratch(rng: &mut ChaCha8Rng) -> Stroke {
    let start = [0, 1].map(|_| either(rng, 1.0));
    let end = [0, 1].map(|i| start[i] + either(rng, 0.6));
    Stroke { points: vec![start, end], width: between(rng, 0.4, 1.0) }
}

impl Stroke {
    /// From `p` to the polyline.
    fn distance(&self, p: Point) -> f32 {
        let squared = |ends: &[Point]| {
            let (along, from) = (sub(ends[1], ends[0]), sub(p, ends[0]));
            let t = (dot(from, along) / dot(along, along).max(1e-9)).clamp(0.0, 1.0);
            let gap = sub(from, along.map(|x| t * x));
            dot(gap, gap)
        };
        self.points.windows(2).map(squared).fold(f32::MAX, f32::min).sqrt()
    }
}

/// A background: two colours, blended by a ramp and a texture.
struct Ground {
    colours: [Colour; 2],
    ramp: Ramp,
    texture: Texture,
    roughness: f32,
    frequency: f32,
}

impl Ground {
    fn new(rng: &mut ChaCha8Rng) -> Self {
        let first = colour(rng);
        let second = mix(first, colour(rng), between(rng, 0.2, 0.6));
        Self {
            colours: [first, second],
            ramp: Ramp::new(rng, 0.5),
            texture: Texture::new(rng),
            roughness: between(rng, 0.1, 0.6),
            frequency: between(rng, 1.5, 4.0),
        }
    }

    fn mean(&self) -> Colour {
        mix(self.colours[0], self.colours[1], 0.5)
    }

    fn at(&self, p: Point) -> Colour {
        let texture = self.roughness * self.texture.at(p, self.frequency);
        mix(self.colours[0], self.colours[1], (0.5 + self.ramp.at(p) + texture).clamp(0.0, 1.0))
    }

    /// A colour that can be told from all of the background: at least 0.3 lighter or darker.
    fn ink(&self, rng: &mut ChaCha8Rng) -> Colour {
        let brightness = |colour: Colour| 0.3 * colour[0] + 0.6 * colour[1] + 0.1 * colour[2];
        let [first, second] = self.colours.map(brightness);
        let (mut low, mut high) = (first.min(second) - 0.3, first.max(second) + 0.3);
        if low < 0.0 && high > 1.0 {
            (low, high) = (0.05, 0.95);
        }
        for _ in 0..50 {
            let ink = colour(rng);
            let bright = brightness(ink);
            if bright < low || bright > high {
                return ink;
            }
        }
        if low > 1.0 - high { [low.max(0.0); 3] } else { [high.min(1.0); 3] }
    }
}

fn colour(rng: &mut ChaCha8Rng) -> Colour {
    [0, 1, 2].map(|_| between(rng, 0.0, 1.0))
}

/// Grows in one direction, from -`most` to `most` at the corners.
struct Ramp(Point);

impl Ramp {
    fn new(rng: &mut ChaCha8Rng, most: f32) -> Self {
        Self([0, 1].map(|_| either(rng, 0.5 * most)))
    }

    fn at(&self, p: Point) -> f32 {
        dot(self.0, p)
    }
}

/// Smooth noise from -1 to 1: random values on a grid that repeats, blended in between.
struct Texture {
    values: [[f32; 8]; 8],
    origin: Point,
}

impl Texture {
    fn new(rng: &mut ChaCha8Rng) -> Self {
        let values = [0; 8].map(|_| [0; 8].map(|_| either(rng, 1.0)));
        Self { values, origin: [0, 1].map(|_| between(rng, 8.0, 16.0)) }
    }

    /// At `p`, with `frequency` grid cells in a unit of length.
    fn at(&self, p: Point, frequency: f32) -> f32 {
        let [x, y] = [0, 1].map(|i| (p[i] * frequency + self.origin[i]).max(0.0));
        let (column, row) = (x as usize, y as usize);
        let [fx, fy] = [x - column as f32, y - row as f32].map(|t| t * t * (3.0 - 2.0 * t));
        let value = |row: usize, column: usize| self.values[row % 8][column % 8];
        let across = |row| value(row, column) * (1.0 - fx) + value(row, column + 1) * fx;
        across(row) * (1.0 - fy) + across(row + 1) * fy
    }
}

fn between(rng: &mut ChaCha8Rng, low: f32, high: f32) -> f32 {
    low + (high - low) * rng.random::<f32>()
}

fn either(rng: &mut ChaCha8Rng, most: f32) -> f32 {
    between(rng, -most, most)
}

fn mix(a: Colour, b: Colour, t: f32) -> Colour {
    [0, 1, 2].map(|c| a[c] + (b[c] - a[c]) * t)
}

fn lerp(a: Point, b: Point, t: f32) -> Point {
    [0, 1].map(|i| a[i] + (b[i] - a[i]) * t)
}

fn sub(a: Point, b: Point) -> Point {
    [a[0] - b[0], a[1] - b[1]]
}

fn dot(a: Point, b: Point) -> f32 {
    a[0] * b[0] + a[1] * b[1]
}

fn length(a: Point) -> f32 {
    dot(a, a).sqrt()
}
