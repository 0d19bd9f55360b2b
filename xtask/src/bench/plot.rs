//! Ratios to native as an SVG: a row for each call or program, a dot for each competitor.

use super::grid::Grid;
use anyhow::{Result, anyhow};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::path::Path;

const WIDTH: u32 = 900;
const ROW_HEIGHT: u32 = 46;
const HEADER_HEIGHT: u32 = 84;
const FOOTER_HEIGHT: u32 = 50;
const LABEL_WIDTH: u32 = 210;
const FONT: &str = "sans-serif";

/// Colours told apart by colour-blind readers too (Okabe and Ito), on light and on dark.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0x80, 0x80, 0x80),
    RGBColor(0x00, 0x72, 0xB2),
    RGBColor(0xD5, 0x5E, 0x00),
    RGBColor(0x56, 0xB4, 0xE9),
    RGBColor(0xE6, 0x9F, 0x00),
    RGBColor(0xCC, 0x79, 0xA7),
];

// Exactly these are exchanged for a dark page.
const PAPER: RGBColor = RGBColor(0xFF, 0xFF, 0xFF);
const INK: RGBColor = RGBColor(0x1F, 0x23, 0x28);
const RULE: RGBColor = RGBColor(0xD8, 0xDE, 0xE4);
const DARK: &str = "<style>@media (prefers-color-scheme: dark) {\
    [fill=\"#FFFFFF\"] { fill: #0d1117 } [fill=\"#1F2328\"] { fill: #e6edf3 }\
    [stroke=\"#1F2328\"] { stroke: #e6edf3 } [stroke=\"#D8DEE4\"] { stroke: #30363d } }</style>\n";

/// Writes the picture. Column 0 is what the others are divided by.
pub fn write(grid: &Grid, title: &str, path: &Path) -> Result<()> {
    let mut svg = String::new();
    draw(grid, title, &mut svg).map_err(|error| anyhow!("{}: {error}", path.display()))?;
    let body = svg.find('>').map_or(0, |at| at + 1);
    svg.insert_str(body, DARK);
    std::fs::write(path, svg)?;
    Ok(())
}

type Drawn = Result<(), Box<dyn std::error::Error>>;

fn draw(grid: &Grid, title: &str, svg: &mut String) -> Drawn {
    let rows = u32::try_from(grid.rows.len())?;
    let height = HEADER_HEIGHT + rows * ROW_HEIGHT + FOOTER_HEIGHT;
    let root = SVGBackend::with_string(svg, (WIDTH, height)).into_drawing_area();
    root.fill(&PAPER)?;
    let text = |size: i32| (FONT, size).into_font().color(&INK);
    root.draw(&Text::new(title.to_owned(), (16, 14), text(17)))?;
    legend(grid, &root)?;

    let area = root.margin(HEADER_HEIGHT, FOOTER_HEIGHT, LABEL_WIDTH, 24);
    let ratios = |row, column| grid.ratio(row, column, 0);
    let highest = (0..grid.rows.len())
        .flat_map(|row| (1..grid.columns.len()).filter_map(move |column| ratios(row, column)))
        .fold(2.0, |highest: f64, spread| highest.max(spread.high));
    let chart =
        ChartBuilder::on(&area).build_cartesian_2d((0.8..highest * 1.1).log_scale(), f64::from(rows)..0.0)?;
    let place = |ratio: f64, y: f64| chart.backend_coord(&(ratio, y));

    for tick in ticks(highest) {
        let line = if tick == 1.0 { INK.stroke_width(1) } else { RULE.stroke_width(1) };
        let (bottom, top) = (place(tick, f64::from(rows)), place(tick, 0.0));
        root.draw(&PathElement::new(vec![bottom, top], line))?;
        let style = text(13).pos(Pos::new(HPos::Center, VPos::Top));
        root.draw(&Text::new(format!("{tick}×"), (bottom.0, bottom.1 + 6), style))?;
    }
    let style = text(13).pos(Pos::new(HPos::Right, VPos::Bottom));
    let note = "times native, logarithmic; the bar: lowest to highest round";
    root.draw(&Text::new(note, (i32::try_from(WIDTH)? - 24, i32::try_from(height)? - 8), style))?;

    for (row, title) in grid.rows.iter().enumerate() {
        let top = f64::from(u32::try_from(row)?);
        let style = text(14).pos(Pos::new(HPos::Right, VPos::Center));
        let label_at = (i32::try_from(LABEL_WIDTH)? - 12, place(1.0, top + 0.5).1);
        root.draw(&Text::new(title.clone(), label_at, style))?;
        root.draw(&PathElement::new(vec![place(0.8, top), place(highest * 1.1, top)], RULE.stroke_width(1)))?;
        for column in 1..grid.columns.len() {
            let Some(spread) = grid.ratio(row, column, 0) else { continue };
            let share = f64::from(u32::try_from(column)?) / f64::from(u32::try_from(grid.columns.len())?);
            let y = top + share;
            let colour = COLOURS[column % COLOURS.len()];
            let bar = vec![place(spread.low.max(0.8), y), place(spread.high, y)];
            root.draw(&PathElement::new(bar, colour.stroke_width(2)))?;
            root.draw(&Circle::new(place(spread.median.max(0.8), y), 4, colour.filled()))?;
        }
    }
    root.present()?;
    Ok(())
}

fn legend(grid: &Grid, root: &DrawingArea<SVGBackend, plotters::coord::Shift>) -> Drawn {
    const LETTER_WIDTH: i32 = 8;
    let mut x = 24;
    for (column, name) in grid.columns.iter().enumerate().skip(1) {
        root.draw(&Circle::new((x, 55), 5, COLOURS[column % COLOURS.len()].filled()))?;
        let style = (FONT, 14).into_font().color(&INK).pos(Pos::new(HPos::Left, VPos::Center));
        root.draw(&Text::new(name.clone(), (x + 10, 55), style))?;
        x += 34 + LETTER_WIDTH * i32::try_from(name.len())?;
    }
    Ok(())
}

/// 1, 2, 5, 10, 20, 50 … as far as the values go.
fn ticks(highest: f64) -> Vec<f64> {
    let decades = [1.0, 10.0, 100.0, 1000.0];
    let all = decades.into_iter().flat_map(|decade| [decade, 2.0 * decade, 5.0 * decade]);
    all.take_while(|tick| *tick <= highest * 1.1).collect()
}
