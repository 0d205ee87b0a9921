//! The plots, as SVG: the caller's blocked time along an axis, after Figure 1 of "A fork() in the
//! road" (HotOS 2019); what an op costs by the size of its message; launches a second by threads.

use std::error::Error;
use std::path::Path;

use plotters::coord::Shift;
use plotters::coord::cartesian::Cartesian2d;
use plotters::prelude::*;

use crate::axis::Axis;
use crate::batch::{self, Batch, Job, SIZES, Way};
use crate::contender::Kind;
use crate::results::{Point, Results, find};
use crate::scale::{Log, Places};
use crate::stdio::Stdio;
use crate::throughput::{self, THREADS, Throughput};

type Drawing<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<Places, Log>>;
type Failed = Box<dyn Error>;

const SIZE: (u32, u32) = (1160, 560);
const LEGEND_WIDTH: u32 = 190;
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
    let lines: Vec<_> = kinds.iter().map(|&kind| (kind.label(), Style::of(kind))).collect();
    legend(&legend_area, &lines)?;
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
    let words = Words {
        title: "",
        across: &format!("{} (log, with a place for 0)", axis.title()),
        up: "caller blocked, p50, microseconds (log)",
    };
    let mut chart = framed(area, stdio.label(), &words, places, times)?;
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

/// A panel without lines.
fn framed<'a>(
    area: &Drawing<'a>,
    caption: &str,
    words: &Words<'_>,
    across: Places,
    up: Log,
) -> Result<Chart<'a>, Failed> {
    let mut chart = ChartBuilder::on(area)
        .caption(caption, (FONT, 17).into_font().color(&INK))
        .margin(8)
        .margin_right(16)
        .x_label_area_size(46)
        .y_label_area_size(70)
        .build_cartesian_2d(across, up)?;
    chart
        .configure_mesh()
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .axis_style(INK)
        .x_desc(words.across)
        .y_desc(words.up)
        .label_style((FONT, 14).into_font().color(&INK))
        .axis_desc_style((FONT, 14).into_font().color(&INK))
        .draw()?;
    Ok(chart)
}

/// Draws what an op costs by the size of its message: one panel for each job.
pub(crate) fn draw_batching(batches: &[Batch], path: &Path) -> Result<(), Failed> {
    let shown = batches.iter().filter_map(|batch| batch.op).map(|op| op.p50_ns.max(1) as f64);
    let Some(times) = around(shown.map(|time_ns| time_ns / 1000.0)) else {
        return Ok(());
    };
    let line = |job, way: Way| Line {
        label: way.label(),
        style: Style::of_way(way),
        values: SIZES
            .iter()
            .map(|&size| batch::op_ns(batches, job, way, size))
            .map(|time_ns| time_ns.map(|time_ns| time_ns.max(1) as f64 / 1000.0))
            .collect(),
    };
    let panels = Job::ALL.map(|job| (job.label(), Way::ALL.map(|way| line(job, way)).to_vec()));
    let labels = SIZES.iter().map(usize::to_string).collect();
    let words = Words {
        title: "What an op costs, by how many travel together",
        across: "ops in a message (log)",
        up: "an op, p50, microseconds (log)",
    };
    lines(&words, labels, &panels, times, path)
}

/// Draws launches a second by the number of launching threads.
pub(crate) fn draw_throughput(rows: &[Throughput], path: &Path) -> Result<(), Failed> {
    let rates = rows.iter().map(|row| row.per_second).filter(|&rate| rate > 0.0);
    let Some(rates) = around(rates) else {
        return Ok(());
    };
    let rate = |kind, threads| {
        let mut rows = rows.iter();
        let row = rows.find(|row| row.contender == Some(kind) && row.threads == threads)?;
        (row.per_second > 0.0).then_some(row.per_second)
    };
    let line = |&kind: &Kind| Line {
        label: kind.label(),
        style: Style::of(kind),
        values: THREADS.iter().map(|&threads| rate(kind, threads)).collect(),
    };
    let panels = [("inherited stdio", throughput::KINDS.iter().map(line).collect())];
    let labels = THREADS.iter().map(usize::to_string).collect();
    let words = Words {
        title: "Launches a second, from several threads",
        across: "threads that launch",
        up: "launches a second (log)",
    };
    lines(&words, labels, &panels, rates, path)
}

/// What stands around a plot.
struct Words<'a> {
    title: &'a str,
    across: &'a str,
    up: &'a str,
}

/// One line of a panel: a value for each place, or a gap.
#[derive(Clone)]
struct Line {
    label: &'static str,
    style: Style,
    values: Vec<Option<f64>>,
}

/// Draws panels of lines on scales that they share.
fn lines(
    words: &Words<'_>,
    labels: Vec<String>,
    panels: &[(&str, Vec<Line>)],
    up: Log,
    path: &Path,
) -> Result<(), Failed> {
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let root = root.titled(words.title, (FONT, 22).into_font().color(&INK))?;
    let (drawn, legend_area) = root.split_horizontally(SIZE.0 - LEGEND_WIDTH);
    for (area, (caption, lines)) in drawn.split_evenly((1, panels.len())).iter().zip(panels) {
        let places = Places::new(labels.clone());
        let mut chart = framed(area, caption, words, places, up.clone())?;
        for Line { style, values, .. } in lines {
            let at = |(place, value): (usize, &Option<f64>)| Some((place as f64, (*value)?));
            let line: Vec<(f64, f64)> = values.iter().enumerate().filter_map(at).collect();
            chart.draw_series(LineSeries::new(line.iter().copied(), style.stroke()))?;
            chart.draw_series(line.iter().map(|&at| style.mark(at)))?;
        }
    }
    // A label stands once, though its line may be in every panel.
    let mut known: Vec<(&str, Style)> = Vec::new();
    for line in panels.iter().flat_map(|(_, lines)| lines) {
        let drawn = line.values.iter().any(Option::is_some);
        if drawn && known.iter().all(|(label, _)| *label != line.label) {
            known.push((line.label, line.style.clone()));
        }
    }
    legend(&legend_area, &known)?;
    root.present()?;
    Ok(())
}

/// The scale that holds all of these.
fn around(values: impl Iterator<Item = f64> + Clone) -> Option<Log> {
    let (low, high) = (values.clone().min_by(f64::total_cmp)?, values.max_by(f64::total_cmp)?);
    Some(Log::around(low, high))
}

fn legend(area: &Drawing<'_>, lines: &[(&str, Style)]) -> Result<(), Failed> {
    for (index, (label, style)) in lines.iter().enumerate() {
        let y = 60 + 26 * index as i32;
        area.draw(&PathElement::new(vec![(6, y), (36, y)], style.stroke()))?;
        area.draw(&style.mark((21, y)))?;
        let text = (FONT, 15).into_font().color(&INK);
        area.draw(&Text::new(*label, (44, y - 7), text))?;
    }
    Ok(())
}

/// The scale that holds all medians.
fn scale(points: &[&Point]) -> Option<Log> {
    let times = points.iter().flat_map(|point| &point.rows).map(|row| row.blocked.p50_ns);
    let us = |time_ns: u64| time_ns.max(1) as f64 / 1000.0;
    Some(Log::around(us(times.clone().min()?), us(times.max()?)))
}

/// How a contender or a way is drawn.
#[derive(Clone)]
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
            Kind::EmbryoHatchery => (RGBColor(204, 120, 188), 3, true),
            Kind::EmbryoHatcheryFixed => (RGBColor(204, 120, 188), 2, false),
        };
        Self { color, width, filled }
    }

    fn of_way(way: Way) -> Self {
        let (color, width, filled) = match way {
            Way::Messages => (RGBColor(1, 115, 178), 3, true),
            Way::MessagesPrebuilt => (RGBColor(86, 180, 233), 2, true),
            Way::MessagesWithFile => (RGBColor(2, 158, 115), 2, true),
            Way::Ptrace => (RGBColor(196, 58, 49), 2, true),
            Way::ProcessVmWritev => (RGBColor(222, 143, 5), 2, true),
            Way::Itself => (RGBColor(120, 120, 120), 2, false),
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
