//! Children in a tokio event loop: awaited by pidfd, no SIGCHLD handler, no thread.

use embryo::{Command, Stdio};
use std::time::Duration;
use tokio::io::AsyncReadExt;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut tasks = Vec::new();
    for number in 0..10 {
        tasks.push(tokio::spawn(async move {
            let mut child = Command::new("sh")
                .args(["-c", &format!("sleep 0.0{number}; echo {number}")])
                .stdout(Stdio::piped())
                .kill_on_drop(true)
                .spawn()?
                .into_async()?;
            let mut text = String::new();
            let mut stdout = child.take_stdio()?.stdout.expect("it is piped");
            stdout.read_to_string(&mut text).await.map_err(|e| e.to_string())?;
            let status = child.wait().await?;
            assert!(status.success());
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(text.trim().to_owned())
        }));
    }
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await?.map_err(|error| error.to_string())?);
    }
    println!("{}", answers.join(" "));

    // A child that takes too long is killed when its handle is dropped.
    let mut slow = Command::new("sleep").arg("60").kill_on_drop(true).spawn()?.into_async()?;
    let waited = tokio::time::timeout(Duration::from_millis(50), slow.wait()).await;
    assert!(waited.is_err());
    println!("gave up on {}", slow.id());
    Ok(())
}
