from crs_gym.cli import main

main()
