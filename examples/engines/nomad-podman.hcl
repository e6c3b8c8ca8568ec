# Nomad schedules containers on many machines through podman. The client needs
# the driver nomad-driver-podman, podman's socket (podman system service) and
# containers.conf of this directory, by which podman runs brig.
#
#     nomad job run nomad-podman.hcl
#     nomad alloc logs -job hello
job "hello" {
  type = "batch"

  group "hello" {
    task "hello" {
      driver = "podman"

      config {
        image   = "docker.io/library/busybox:1.36"
        command = "echo"
        args    = ["hello from brig"]
      }

      resources {
        cpu    = 200
        memory = 64
      }
    }
  }
}
