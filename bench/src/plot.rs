//! The caller's blocked time along an axis as an SVG, after Figure 1 of "A fork() in the road"
//! (HotOS 2019).

use std::error::Error;
use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::axis::Axis;
use crate::contender::Kind;
use crate::results::{Point, Results, find};
use crate::scale::{Log, Places};
use crate::stdio::Stdio;

type Drawing<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Failed = Box<dyn Error>;

const SIZE: (u32, u32) = (1160, 560);
const LEGEND_WIDTH: u32 = 170;
const FONT: &str = "sans-serif";
const INK: RGBColor = RGBColor(40, 40, 40);
const GRID: RGBColor = RGBColor(225, 225, 225);

/// Draws `axis` to `path`: one panel for each kind of stdio, one line for each contender.
pub(crate) fn draw(
    results: &Results,
    axis: Axis,
    kinds: &[Kind],
    path: &Path,
) -> Result<(), Failed> {
    let points: Vec<&Point> = results.measured(axis).collect();
    let Some(times) = scale(&points) else {
        return Ok(());
    };
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let title = format!("What a launch costs its caller, by the parent's {}", axis.title());
    let root = root.titled(&title, (FONT, 22).into_font().color(&INK))?;
    let (panels, legend_area) = root.split_horizontally(SIZE.0 - LEGEND_WIDTH);
    for (area, stdio) in panels.split_evenly((1, 2)).iter().zip(Stdio::ALL) {
        panel(area, axis, stdio, &points, kinds, times.clone())?;
    }
    let drawn =
        |kind| points.iter().any(|point| point.rows.iter().any(|row| row.contender == kind));
    let kinds: Vec<Kind> = kinds.iter().copied().filter(|&kind| drawn(kind)).collect();
    legend(&legend_area, &kinds)?;
    root.present()?;
    Ok(())
}

fn panel(
    area: &Drawing<'_>,
    axis: Axis,
    stdio: Stdio,
    points: &[&Point],
    kinds: &[Kind],
    times: Log,
) -> Result<(), Failed> {
    let places = Places::new(points.iter().map(|point| axis.label(point.value)).collect());
    let mut chart = ChartBuilder::on(area)
        .caption(stdio.label(), (FONT, 17).into_font().color(&INK))
        .margin(8)
        .margin_right(16)
        .x_label_area_size(46)
        .y_label_area_size(70)
        .build_cartesian_2d(places, times)?;
    chart
        .configure_mesh()
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .axis_style(INK)
        .x_desc(format!("{} (log, with a place for 0)", axis.title()))
        .y_desc("caller blocked, p50, microseconds (log)")
        .label_style((FONT, 14).into_font().color(&INK))
        .axis_desc_style((FONT, 14).into_font().color(&INK))
        .draw()?;
    for &kind in kinds {
        let style = Style::of(kind);
        let line: Vec<(f64, f64)> = points
            .iter()
            .enumerate()
            .filter_map(|(place, point)| {
                let row = find(&point.rows, kind, stdio)?;
                Some((place as f64, row.blocked.p50_ns as f64 / 1000.0))
            })
            .collect();
        chart.draw_series(LineSeries::new(line.iter().copied(), style.stroke()))?;
        chart.draw_series(line.iter().map(|&at| style.mark(at)))?;
    }
    Ok(())
}

fn legend(area: &Drawing<'_>, kinds: &[Kind]) -> Result<(), Failed> {
    for (index, &kind) in kinds.iter().enumerate() {
        let style = Style::of(kind);
        let y = 60 + 26 * index as i32;
        area.draw(&PathElement::new(vec![(6, y), (36, y)], style.stroke()))?;
        area.draw(&style.mark((21, y)))?;
        let text = (FONT, 15).into_font().color(&INK);
        area.draw(&Text::new(kind.label(), (44, y - 7), text))?;
    }
    Ok(())
}

/// The scale that holds all medians.
fn scale(points: &[&Point]) -> Option<Log> {
    let times = points.iter().flat_map(|point| &point.rows).map(|row| row.blocked.p50_ns);
    let us = |time_ns: u64| time_ns.max(1) as f64 / 1000.0;
    Some(Log::around(us(times.clone().min()?), us(times.max()?)))
}

/// How a contender is drawn.
struct Style {
    color: RGBColor,
    width: u32,
    filled: bool,
}

impl Style {
    fn of(kind: Kind) -> Self {
        let (color, width, filled) = match kind {
            Kind::ForkExec => (RGBColor(196, 58, 49), 2, true),
            Kind::VforkExec => (RGBColor(120, 120, 120), 2, true),
            Kind::PosixSpawn => (RGBColor(222, 143, 5), 2, true),
            Kind::StdCommand => (RGBColor(148, 96, 60), 2, false),
            Kind::EmbryoPlan => (RGBColor(1, 115, 178), 3, true),
            Kind::EmbryoStrict => (RGBColor(86, 180, 233), 2, true),
            Kind::EmbryoCommand => (RGBColor(86, 180, 233), 2, false),
            Kind::EmbryoSeed => (RGBColor(2, 158, 115), 2, true),
        };
        Self { color, width, filled }
    }

    fn stroke(&self) -> ShapeStyle {
        self.color.stroke_width(self.width)
    }

    fn mark<C>(&self, at: C) -> Circle<C, u32> {
        let style = ShapeStyle { filled: self.filled, ..self.stroke() };
        Circle::new(at, 4, style)
    }
}
